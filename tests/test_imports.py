"""Imports between the modules of the package."""

import graphlib
import subprocess
import sys

import pytest

grimp = pytest.importorskip("grimp")


def test_no_module_imports_itself_over_others() -> None:
    graph = grimp.build_graph("workflow_r1", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # Raises CycleError, which names the circle.


def test_the_package_waits_with_everything_heavy() -> None:
    code = (
        "import sys, workflow_r1\n"
        "assert 'workflow_r1.running' not in sys.modules\n"
        "workflow_r1.train, workflow_r1.load_config\n"
        "print(sorted({'torch', 'transformers', 'pydantic', 'rich', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
