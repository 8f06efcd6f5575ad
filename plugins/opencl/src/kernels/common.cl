// What all kernels share. The host puts before it: VEC (elements of a vector), ROWS (output positions of a tile),
// EXACT_DIVIDE (whether `/` rounds correctly), DOT (whether the device has packed products of four bytes).
//
// Bytes of codes are handled as unsigned: `flip` is 0x80 for i8 and 0 for u8, `byte ^ flip` is the code plus 128 for
// i8, and zero points and bounds are moved by 128 with it. So one kernel serves both types.

#pragma OPENCL FP_CONTRACT OFF

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef JOIN(float, VEC) vfloat;
typedef JOIN(int, VEC) vint;
typedef JOIN(uint, VEC) vuint;
typedef JOIN(uchar, VEC) vuchar;
#define VLOAD JOIN(vload, VEC)
#define VSTORE JOIN(vstore, VEC)
#define TO_VFLOAT JOIN(convert_float, VEC)
#define TO_VINT JOIN(convert_int, VEC)
#define TO_VUCHAR JOIN(convert_uchar, VEC)
#define TO_VINT_RTE JOIN(JOIN(convert_int, VEC), _rte)

// To the nearest integer, halves to even, within [low, high], which are whole; NaN counts as 0.
inline int nearest(float x, float low, float high) {
  x = isnan(x) ? 0.0f : x;
  return convert_int_rte(clamp(x, low, high));
}

inline vint nearest_vector(vfloat x, float low, float high) {
  x = select(x, (vfloat)(0.0f), isnan(x));
  return TO_VINT_RTE(clamp(x, (vfloat)(low), (vfloat)(high)));
}

// x / s, correctly rounded where it lies near a code. `inverse` is 1 / s, correctly rounded by the host: without a
// correctly rounded division, one step from the product with it gives the quotient's rounding (Markstein).
inline float quotient(float x, float s, float inverse) {
#if EXACT_DIVIDE
  return x / s;
#else
  float q = x * inverse;
  // Far outside every type's codes the last bit does not matter, and infinities must stay what they are.
  return fabs(q) < 16777216.0f ? fma(fma(-q, s, x), inverse, q) : q;
#endif
}

// load_NAME: up to VEC elements from `p`, zeros behind `n`. store_NAME: the first `n` of `v`.
#define WITH_TAILS(name, element, vector)                         \
  inline vector load_##name(__global const element *p, int n) {   \
    if (n >= VEC) return VLOAD(0, p);                             \
    element part[VEC];                                            \
    for (int i = 0; i < VEC; i++) part[i] = i < n ? p[i] : 0;     \
    return VLOAD(0, part);                                        \
  }                                                               \
  inline void store_##name(vector v, __global element *p, int n) { \
    if (n >= VEC) {                                               \
      VSTORE(v, 0, p);                                            \
      return;                                                     \
    }                                                             \
    element part[VEC];                                            \
    VSTORE(v, 0, part);                                           \
    for (int i = 0; i < n; i++) p[i] = part[i];                   \
  }

WITH_TAILS(bytes, uchar, vuchar)
WITH_TAILS(floats, float, vfloat)

// min(max(x, low), high) that lets NaN through.
inline vfloat bounded(vfloat x, float low, float high) {
  return select(fmin(fmax(x, (vfloat)(low)), (vfloat)(high)), x, isnan(x));
}
