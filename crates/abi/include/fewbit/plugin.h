/* fewbit/plugin.h - the ABI of backend plugins, major version 1.
 *
 * Stands alone: C99 or C++11, no other header of the project is needed.
 * A plugin is one shared library that exports one function,
 * fewbit_plugin_query. It answers a read-only table of functions; the host
 * calls them in the order
 *
 *     init -> device_open -> capabilities, supports, compile
 *          -> context_new -> run, run, ... -> the frees -> deinit
 *
 * Rules that hold for every declaration below:
 *   R1  Nothing allocated on one side is freed on the other. Results travel
 *       through caller-owned structs or through a fewbit_sink.
 *   R2  Pointers passed in are borrowed for the call only, unless the comment
 *       says "until X".
 *   R3  Every growable struct begins with struct_size, set by whoever fills it
 *       in. Readers touch a field only after FEWBIT_HAS (pointers) or
 *       FEWBIT_KNOWS (anything else). Fields are only ever appended; a struct
 *       marked [frozen] never changes.
 *   R4  Arrays hold pointers to structs (or [frozen] structs), so that
 *       elements can grow.
 *   R5  No exception, panic, longjmp, exit() or abort() crosses the boundary.
 *   R6  Thread classes: [any] concurrent calls allowed; [obj] any thread, but
 *       one at a time per object; [once] called once, before or after all
 *       others.
 *   R7  What one side does not know is refused, never ignored: a flag, an enum
 *       value, an operator, an attribute (FEWBIT_UNSUPPORTED with its reason).
 *   R8  The process is left as it was found: floating-point environment,
 *       signal handlers, locale, umask, current directory, environment.
 */
#ifndef FEWBIT_PLUGIN_H
#define FEWBIT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FEWBIT_ABI_MAJOR 1u
#define FEWBIT_ABI_MINOR 1u
#define FEWBIT_MAGIC 0x31544246u /* "FBT1", little endian */
#define FEWBIT_ABSENT 0xFFFFFFFFu

#if defined(_WIN32)
#define FEWBIT_EXPORT __declspec(dllexport)
#else
#define FEWBIT_EXPORT __attribute__((visibility("default")))
#endif

/* Whether the producer of *p knew `field` and filled it in. */
#define FEWBIT_KNOWS(T, p, field) \
  ((p)->struct_size >= offsetof(T, field) + sizeof((p)->field))
/* The same for a pointer that may also be absent. */
#define FEWBIT_HAS(T, p, field) (FEWBIT_KNOWS(T, p, field) && (p)->field != NULL)

typedef struct {
  const char *ptr;
  size_t len;
} fewbit_str; /* [frozen] UTF-8, not NUL-terminated */

typedef struct {
  const void *ptr;
  size_t len;
} fewbit_bytes; /* [frozen] */

typedef int32_t fewbit_status;
enum {
  FEWBIT_OK = 0,
  FEWBIT_INVALID_ARGUMENT = 1, /* the caller broke a rule of this header */
  FEWBIT_UNSUPPORTED = 2,      /* a fair question, answered no; `why` says why */
  FEWBIT_OUT_OF_MEMORY = 3,
  FEWBIT_INCOMPATIBLE = 4,     /* a blob or an extension of another version */
  FEWBIT_DEVICE_LOST = 5,      /* only frees and closes are legal afterwards */
  FEWBIT_CANCELLED = 6,        /* the sink refused more */
  FEWBIT_INTERNAL = 7          /* a defect of the callee */
};

/* Why a node, a blob or a device was refused; bits may be combined. A refusal
 * without a reason is a defect. */
enum {
  FEWBIT_WHY_OP = 1 << 0,          /* the operator */
  FEWBIT_WHY_DTYPE = 1 << 1,       /* an element type */
  FEWBIT_WHY_SCHEME = 1 << 2,      /* symmetric, affine, ... or none */
  FEWBIT_WHY_GRANULARITY = 1 << 3, /* what shares a scale */
  FEWBIT_WHY_RANK = 1 << 4,        /* the number of dimensions */
  FEWBIT_WHY_SHAPE = 1 << 5,       /* an extent, a buffer too short */
  FEWBIT_WHY_ATTRIBUTE = 1 << 6,   /* an attribute or its value */
  FEWBIT_WHY_ALIGNMENT = 1 << 7,   /* an address or a stride */
  FEWBIT_WHY_MEMORY = 1 << 8,      /* it does not fit the device */
  FEWBIT_WHY_DRIVER = 1 << 9,      /* missing, or of the wrong version */
  FEWBIT_WHY_DEPENDENCY = 1 << 10, /* another library or file is missing */
  FEWBIT_WHY_LICENSE = 1 << 11
};

/* Owned by the caller, who clears it; the callee writes it when it returns
 * anything but FEWBIT_OK. [frozen] */
typedef struct {
  int32_t vendor_code;
  uint32_t why;      /* FEWBIT_WHY_* */
  uint32_t node;     /* index into fewbit_program.nodes, or FEWBIT_ABSENT */
  uint32_t reserved; /* 0 */
  char message[496]; /* never empty; NUL-terminated UTF-8, cut by the callee */
} fewbit_error;

/* Bytes flow to the host in pieces; anything but FEWBIT_OK means stop and
 * return that status. [frozen] */
typedef struct {
  void *ctx;
  fewbit_status (*write)(void *ctx, const void *bytes, size_t len);
} fewbit_sink;

/* ------------------------------------------------------------- the host */

enum {
  FEWBIT_ERROR = 1,
  FEWBIT_WARN = 2,
  FEWBIT_INFO = 3,
  FEWBIT_DEBUG = 4,
  FEWBIT_TRACE = 5
};

/* Valid from init until deinit returns. */
typedef struct {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor;
  void *ctx;
  void (*log)(void *ctx, int32_t level, fewbit_str target, fewbit_str text); /* [any] */
  uint32_t (*log_max_level)(void *ctx);                                      /* [any] */
  const void *(*get_extension)(void *ctx, const char *id); /* [any] NULL: absent */
} fewbit_host;

/* ----------------------------------------------------------- the program */

/* code, bits and lanes have the values of DLPack's DLDataType; lanes is 1.
 * i8 {0,8,1}  u8 {1,8,1}  i4 {0,4,1}  i32 {0,32,1}  i64 {0,64,1}
 * f16 {2,16,1}  f32 {2,32,1}  f64 {2,64,1}  bf16 {4,16,1}  bool {6,8,1}
 * [frozen] */
typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} fewbit_dtype;

enum { FEWBIT_INT = 0, FEWBIT_UINT = 1, FEWBIT_FLOAT = 2, FEWBIT_BFLOAT = 4, FEWBIT_BOOL = 6 };

/* real = scale * (code - zero_point). SYMMETRIC: every zero point is 0. */
enum { FEWBIT_Q_AFFINE = 1, FEWBIT_Q_SYMMETRIC = 2, FEWBIT_Q_POW2 = 3, FEWBIT_Q_MX = 4 };
/* What shares a scale: the tensor, a slice of `axis`, a run along `axis`. */
enum { FEWBIT_G_TENSOR = 1, FEWBIT_G_CHANNEL = 2, FEWBIT_G_BLOCK = 3 };

typedef struct {
  uint32_t struct_size;
  uint8_t scheme, granularity; /* FEWBIT_Q_*, FEWBIT_G_* */
  int16_t axis;                /* 0 for FEWBIT_G_TENSOR */
  uint32_t block_size;         /* 0 unless FEWBIT_G_BLOCK */
  uint32_t count;              /* of scales, and of zero points where present */
  const float *scales;
  const int32_t *zero_points; /* NULL: all zero */
} fewbit_quant;

enum {
  FEWBIT_V_INPUT = 1,  /* given to run */
  FEWBIT_V_OUTPUT = 2, /* wanted from run */
  FEWBIT_V_CONST = 4,  /* `data` holds it */
  FEWBIT_V_PACKED = 8  /* elements below a byte, low bits first */
};

typedef struct {
  uint32_t struct_size;
  uint32_t flags; /* FEWBIT_V_* */
  fewbit_str name;
  const int64_t *dims; /* -1: known only at run */
  uint32_t rank;
  fewbit_dtype dtype;        /* in storage */
  const fewbit_quant *quant; /* NULL: not quantized */
  fewbit_bytes data;         /* CONST only, dense, row-major; until compile returns */
} fewbit_value;

enum {
  FEWBIT_A_INT = 1,    /* one int64_t */
  FEWBIT_A_FLOAT = 2,  /* one double */
  FEWBIT_A_STR = 3,    /* n_items bytes of UTF-8 */
  FEWBIT_A_INTS = 4,   /* n_items of int64_t */
  FEWBIT_A_FLOATS = 5  /* n_items of double */
};

typedef struct {
  uint32_t struct_size;
  uint32_t kind; /* FEWBIT_A_* */
  fewbit_str name;
  const void *items;
  size_t n_items;
} fewbit_attr;

/* domain "" holds ONNX's operators with ONNX's attributes, all of them spelled
 * out; domain "fewbit" holds those that ONNX lacks (Quantize, Dequantize,
 * Requantize, Silu, Mish). Attributes that ONNX does not have:
 *   clamp_min, clamp_max (FLOAT)  a clamp fused behind the operator
 *   precision (STR)               how it computes where types do not tell
 * docs/vendor/operators.md lists every operator with its arithmetic. */
typedef struct {
  uint32_t struct_size;
  uint32_t op_version; /* of the operator set */
  fewbit_str domain, op_type, name;
  const uint32_t *inputs, *outputs; /* values; FEWBIT_ABSENT: left out */
  const fewbit_attr *const *attrs;
  uint32_t n_inputs, n_outputs, n_attrs, reserved;
} fewbit_node;

typedef struct {
  uint32_t struct_size;
  uint32_t ir_version; /* 1 */
  const fewbit_value *const *values;
  const fewbit_node *const *nodes; /* producers before readers */
  const uint32_t *inputs, *outputs;
  const fewbit_attr *const *options; /* threads (INT), profile (INT) */
  uint32_t n_values, n_nodes, n_inputs, n_outputs, n_options, reserved;
} fewbit_program;

/* ------------------------------------------------------------- execution */

typedef struct {
  uint32_t struct_size;
  uint32_t value; /* which value of the program this is */
  void *data;     /* of an input: only to be read */
  size_t byte_len; /* bytes reachable from data: check before use */
  const int64_t *dims;
  const int64_t *byte_strides; /* NULL: dense, row-major */
  uint32_t rank;
  uint32_t memory; /* 0: the host's */
} fewbit_tensor;

typedef struct {
  uint32_t supported; /* 0 or 1 */
  uint32_t why;       /* FEWBIT_WHY_*, not 0 where not supported */
} fewbit_verdict; /* [frozen] */

/* Answers of blob_check, best first. */
enum { FEWBIT_BLOB_OPTIMAL = 0, FEWBIT_BLOB_RECOMPILE_ADVISED = 1, FEWBIT_BLOB_REFUSED = 2 };

/* What an executable and one of its contexts hold, in bytes. [frozen] */
typedef struct {
  uint64_t weights;     /* packed weights and tables, shared by all contexts */
  uint64_t activations; /* of one context */
  uint64_t scratch;     /* of one context */
} fewbit_footprint;

typedef struct fewbit_device fewbit_device;
typedef struct fewbit_executable fewbit_executable;
typedef struct fewbit_context fewbit_context;

/* deinit, get_extension, the blob functions and whatever a later minor version
 * adds may be NULL; every other entry must be there. Fill the table in with
 * designated initializers where the language has them: what is not named is
 * NULL, so that it compiles with newer headers too. */
typedef struct {
  /* The first 16 bytes are [frozen] across every major version. */
  uint32_t magic, struct_size;
  uint16_t abi_major, abi_minor;
  uint32_t flags; /* 0 */
  fewbit_str id, vendor, version, build;

  fewbit_status (*init)(const fewbit_host *, fewbit_error *); /* [once] */
  void (*deinit)(void); /* [once] every object has been freed */
  const void *(*get_extension)(const char *id); /* [any] NULL: absent; see ext.h */

  fewbit_status (*device_count)(uint32_t *out, fewbit_error *);             /* [any] */
  fewbit_status (*device_open)(uint32_t, fewbit_device **, fewbit_error *); /* [any] */
  void (*device_close)(fewbit_device *); /* [obj] NULL is allowed, as in every free */
  /* The capability document as JSON: a function of the device and the build
   * only, the same bytes at every call. */
  fewbit_status (*capabilities)(fewbit_device *, const fewbit_sink *, fewbit_error *); /* [any] */
  /* One verdict per node. A promise: a program all of whose nodes are supported
   * compiles, save for memory and a lost device. */
  fewbit_status (*supports)(fewbit_device *, const fewbit_program *,
                            fewbit_verdict *per_node, fewbit_error *); /* [any] */

  fewbit_status (*compile)(fewbit_device *, const fewbit_program *,
                           fewbit_executable **, fewbit_error *);           /* [any] */
  fewbit_status (*blob_save)(fewbit_executable *, const fewbit_sink *,
                             fewbit_error *);                               /* [obj] */
  fewbit_status (*blob_load)(fewbit_device *, fewbit_bytes, fewbit_executable **,
                             fewbit_error *);                               /* [any] */
  /* Reads only the tag: the first bytes (256 at most) of what blob_save wrote. */
  fewbit_status (*blob_check)(fewbit_device *, fewbit_bytes tag, int32_t *answer,
                              fewbit_error *);                              /* [any] */
  void (*executable_free)(fewbit_executable *); /* [obj] its contexts have been freed */

  fewbit_status (*context_new)(fewbit_executable *, fewbit_context **, fewbit_error *); /* [any] */
  /* Inputs and outputs in the program's order. Writes every byte of every
   * output, or returns an error. Contexts of one executable run at once. */
  fewbit_status (*run)(fewbit_context *, const fewbit_tensor *const *in, uint32_t n_in,
                       fewbit_tensor *const *out, uint32_t n_out, fewbit_error *); /* [obj] */
  void (*context_free)(fewbit_context *); /* [obj] */

  /* Since minor version 1. */
  fewbit_status (*footprint)(fewbit_executable *, fewbit_footprint *, fewbit_error *); /* [any] */
} fewbit_plugin;

/* The one exported symbol. [any] Pure: no allocation, no device access, no
 * thread, no log. NULL when host_major cannot be served. The result lives as
 * long as the library, which the host never unloads. */
FEWBIT_EXPORT const fewbit_plugin *fewbit_plugin_query(uint32_t host_major, uint32_t host_minor);

#ifdef __cplusplus
}
#endif
#endif
