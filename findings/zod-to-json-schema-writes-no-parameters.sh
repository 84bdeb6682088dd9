#!/usr/bin/env bash
# zod-to-json-schema writes an empty schema for an object of zod 4.
#
# Expected (a guess, made before running): a schema of zod 4, which the package names among its peers, is converted or is an error.
# What happens: the schema is empty but for its `$schema` key. A tool that is described with it has no parameters, so the model
#   calls it with arguments of its own invention or none. `z.toJSONSchema` and a schema of `zod/v3` have the parameters.
# Versions: zod-to-json-schema 3.25.2, zod 4.6.7 on Node.js 20. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" zod-to-json-schema@3.25.2 zod@4.6.7
cd "$folder"

node - <<'JAVASCRIPT'
const z3 = require("zod/v3");
const z = require("zod");
const { zodToJsonSchema } = require("zod-to-json-schema");

const version = (name) => require(`./node_modules/${name}/package.json`).version;
const peers = require("./node_modules/zod-to-json-schema/package.json").peerDependencies;
const four = zodToJsonSchema(z.object({ query: z.string() }));
const three = zodToJsonSchema(z3.object({ query: z3.string() }));
const builtIn = z.toJSONSchema(z.object({ query: z.string() }));
console.log("version: zod-to-json-schema", version("zod-to-json-schema"), "zod", version("zod"), "peers", peers);
console.log("expected: an object with the parameter query, or an error");
console.log("seen with zod 4:        ", JSON.stringify(four));
console.log("seen with zod/v3:       ", JSON.stringify(three));
console.log("seen with z.toJSONSchema:", JSON.stringify(builtIn));
const asDescribed = Object.keys(four).join() === "$schema" && "query" in three.properties && "query" in builtIn.properties;
console.log(asDescribed ? "behaviour: as described" : "behaviour: CHANGED");
process.exit(asDescribed ? 0 : 1);
JAVASCRIPT
