/* The steps of decoding between products of matrices: attention of single queries to the past of their slots, the
storing of new keys and values, norms, rotations and gates.

A row is one query token: it sees the keys and values of its slot up to its own position, and nothing is padded, masked
or copied. The cache of a layer is (slots, key-value heads, capacity, dim), contiguous. Products are summed in float.
`scratch` has room for dim, value_dim and capacity numbers. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t rows, heads, kv_heads, dim, value_dim, capacity;
    int64_t row_stride, head_stride;         /* of the queries, in elements */
    int64_t window;                          /* most positions that a query sees; 0 for all */
    float scale, softcap;                    /* softcap 0 for none */
} Shape;

/* exp of x <= 0, to about one unit in the last place: Cephes' polynomial, after taking out the powers of two. */
static inline float exp_of(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = floorf(x * 1.44269504f + 0.5f);
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t i; float f; } power = {((int32_t)n + 127) << 23};
    return p * power.f;
}

static inline float from_float(float x) { return x; }
static inline float to_float(float x) { return x; }

static inline float from_bfloat16(uint16_t x) {
    union { uint32_t i; float f; } u = {(uint32_t)x << 16};
    return u.f;
}

static inline uint16_t to_bfloat16(float x) { /* to nearest, ties to even; NaN stays NaN */
    union { float f; uint32_t i; } u = {x};
    if (x != x) return 0x7fc0;
    return (uint16_t)((u.i + 0x7fff + ((u.i >> 16) & 1)) >> 16);
}

#define ATTENTION(NAME, TYPE, FROM, TO)                                                                               \
    void attend_##NAME(const Shape *shape, const TYPE *queries, const TYPE *keys, const TYPE *values, TYPE *outputs,  \
                       const int64_t *slots, const int64_t *positions, float *scratch) {                             \
        const int64_t dim = shape->dim, value_dim = shape->value_dim, per_kv = shape->heads / shape->kv_heads;        \
        float *query = scratch, *sums = query + dim, *scores = sums + value_dim;                                      \
        for (int64_t row = 0; row < shape->rows; row++) {                                                             \
            const int64_t end = positions[row] + 1;                                                                   \
            const int64_t first = shape->window && end > shape->window ? end - shape->window : 0, num = end - first;  \
            for (int64_t head = 0; head < shape->heads; head++) {                                                     \
                const int64_t at = (slots[row] * shape->kv_heads + head / per_kv) * shape->capacity + first;          \
                const TYPE *given = queries + row * shape->row_stride + head * shape->head_stride;                    \
                for (int64_t d = 0; d < dim; d++) query[d] = FROM(given[d]) * shape->scale;                           \
                for (int64_t d = 0; d < value_dim; d++) sums[d] = 0.0f;                                               \
                const TYPE *key = keys + at * dim, *value = values + at * value_dim;                                  \
                float highest = -INFINITY, total = 0.0f;                                                              \
                for (int64_t j = 0; j < num; j++, key += dim) {                                                       \
                    for (int64_t d = 0; d < dim; d += 64 / (int64_t)sizeof(TYPE))                                     \
                        __builtin_prefetch(key + 16 * dim + d);                                                       \
                    for (int64_t d = 0; d < value_dim; d += 64 / (int64_t)sizeof(TYPE))                               \
                        __builtin_prefetch(value + j * value_dim + d, 0, 2);                                          \
                    float score = 0.0f;                                                                               \
                    _Pragma("omp simd reduction(+ : score)")                                                          \
                    for (int64_t d = 0; d < dim; d++) score += query[d] * FROM(key[d]);                               \
                    scores[j] = score;                                                                                \
                }                                                                                                     \
                if (shape->softcap > 0.0f)                                                                            \
                    for (int64_t j = 0; j < num; j++) scores[j] = tanhf(scores[j] / shape->softcap) * shape->softcap; \
                for (int64_t j = 0; j < num; j++) highest = scores[j] > highest ? scores[j] : highest;                \
                _Pragma("omp simd reduction(+ : total)")                                                              \
                for (int64_t j = 0; j < num; j++) {                                                                   \
                    scores[j] = exp_of(scores[j] - highest);                                                          \
                    total += scores[j];                                                                               \
                }                                                                                                     \
                for (int64_t j = 0; j < num; j++, value += value_dim) {                                               \
                    const float weight = scores[j];                                                                   \
                    _Pragma("omp simd")                                                                               \
                    for (int64_t d = 0; d < value_dim; d++) sums[d] += weight * FROM(value[d]);                       \
                }                                                                                                     \
                TYPE *output = outputs + (row * shape->heads + head) * value_dim;                                     \
                for (int64_t d = 0; d < value_dim; d++) output[d] = TO(sums[d] / total);                              \
            }                                                                                                         \
        }                                                                                                             \
    }

ATTENTION(float, float, from_float, to_float)
ATTENTION(bfloat16, uint16_t, from_bfloat16, to_bfloat16)

/* Put new tokens' keys or values into their slots; sizes and strides in bytes. No place was touched before, so each is
asked for some tokens ahead. */
void store(char *cache, const char *added, const int64_t *slots, const int64_t *positions, int64_t tokens,
           int64_t kv_heads, int64_t capacity, int64_t bytes, int64_t token_stride, int64_t head_stride) {
    enum { AHEAD = 8 };
    for (int64_t t = -AHEAD; t < tokens; t++)
        for (int64_t head = 0; head < kv_heads; head++) {
            const int64_t next = t + AHEAD;
            if (next < tokens)
                for (int64_t b = 0; b < bytes; b += 64)
                    __builtin_prefetch(cache + ((slots[next] * kv_heads + head) * capacity + positions[next]) * bytes + b, 1);
            if (t >= 0)
                memcpy(cache + ((slots[t] * kv_heads + head) * capacity + positions[t]) * bytes,
                       added + t * token_stride + head * head_stride, bytes);
        }
}

/* The steps between the products: what is computed in float comes out in the type that the next product takes.

rms_norm: x / sqrt(mean(x^2) + eps) * weight of each row.
rotate: the two halves of each head by its position, in place; cosines and sines are (rows, dim).
gated: gate * sigmoid(gate) * up, in place of gate; the first product is rounded too, as it is where it has its own place. */
#define STEPS(NAME, TYPE, FROM, TO)                                                                                    \
    void rms_norm_##NAME(TYPE *output, const float *x, const float *weight, int64_t rows, int64_t dim, float eps) {   \
        for (int64_t row = 0; row < rows; row++, x += dim, output += dim) {                                           \
            float squares = 0.0f;                                                                                     \
            _Pragma("omp simd reduction(+ : squares)")                                                                \
            for (int64_t d = 0; d < dim; d++) squares += x[d] * x[d];                                                 \
            const float factor = 1.0f / sqrtf(squares / (float)dim + eps);                                            \
            for (int64_t d = 0; d < dim; d++) output[d] = TO(weight[d] * (x[d] * factor));                            \
        }                                                                                                             \
    }                                                                                                                 \
    void rotate_##NAME(TYPE *x, const float *cosines, const float *sines, int64_t rows, int64_t heads, int64_t dim) { \
        const int64_t half = dim / 2;                                                                                 \
        for (int64_t row = 0; row < rows; row++, cosines += dim, sines += dim)                                        \
            for (int64_t head = 0; head < heads; head++, x += dim) {                                                  \
                _Pragma("omp simd")                                                                                   \
                for (int64_t d = 0; d < half; d++) {                                                                  \
                    const float left = FROM(x[d]), right = FROM(x[d + half]);                                         \
                    x[d] = TO(left * cosines[d] - right * sines[d]);                                                  \
                    x[d + half] = TO(right * cosines[d + half] + left * sines[d + half]);                             \
                }                                                                                                     \
            }                                                                                                         \
    }                                                                                                                 \
    void gated_##NAME(TYPE *gate, const TYPE *up, int64_t num) {                                                      \
        _Pragma("omp simd")                                                                                           \
        for (int64_t i = 0; i < num; i++) {                                                                           \
            const float g = FROM(gate[i]), e = exp_of(-fabsf(g));                                                     \
            gate[i] = TO(FROM(TO(g * ((g < 0.0f ? e : 1.0f) / (1.0f + e)))) * FROM(up[i]));                           \
        }                                                                                                             \
    }

STEPS(float, float, from_float, to_float)
STEPS(bfloat16, uint16_t, from_bfloat16, to_bfloat16)
