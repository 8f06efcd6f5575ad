/* The table of functions and the objects behind its handles. */
#include <fewbit/plugin.h>

#include <stdlib.h>
#include <string.h>

static const char DOCUMENT[] =
    "{\"schema\": 1, \"name\": \"sample-c\", \"title\": \"Sample in C\", \"vendor\": \"fewbit\","
    " \"summary\": \"A plugin to learn from.\","
    " \"artifact\": {\"format\": \"onnx-qdq\", \"source\": \"plugins/sample-c\"},"
    " \"processors\": [{\"id\": \"sample-c\", \"kind\": \"cpu\", \"numerics\": \"exact\","
    " \"rounding\": \"half-to-even\", \"saturates_intermediate\": false, \"accumulator\": \"i32\","
    " \"layouts\": [\"nchw\"], \"dynamic_shapes\": false, \"single_partition\": false,"
    " \"source\": \"plugins/sample-c\", \"rules\": [{\"id\": \"sample-c-identity\","
    " \"ops\": [\"Identity\"], \"precisions\": [\"f32\"], \"support\": \"native\","
    " \"limits\": {\"element_types\": [\"f32\"]}, \"source\": \"plugins/sample-c\"}]}]}";

struct fewbit_device { int unused; };
static struct fewbit_device device;

static fewbit_status refuse(fewbit_error *error, fewbit_status status, uint32_t why, const char *message) {
  if (error != NULL) {
    error->why = why;
    error->node = FEWBIT_ABSENT;
    strncpy(error->message, message, sizeof error->message - 1);
  }
  return status;
}

static fewbit_status init(const fewbit_host *host, fewbit_error *error) {
  if (host == NULL) return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "host is NULL");
  return FEWBIT_OK;
}

static fewbit_status device_count(uint32_t *out, fewbit_error *error) {
  if (out == NULL) return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "out is NULL");
  *out = 1;
  return FEWBIT_OK;
}

static fewbit_status device_open(uint32_t index, fewbit_device **out, fewbit_error *error) {
  if (out == NULL || index != 0) return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "there is one device");
  *out = &device;
  return FEWBIT_OK;
}

static void device_close(fewbit_device *self) { (void)self; }

static fewbit_status capabilities(fewbit_device *self, const fewbit_sink *sink, fewbit_error *error) {
  if (self == NULL || sink == NULL) return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "NULL argument");
  return sink->write(sink->ctx, DOCUMENT, sizeof DOCUMENT - 1);
}

static fewbit_status supports(fewbit_device *self, const fewbit_program *program, fewbit_verdict *per_node,
                              fewbit_error *error) {
  uint32_t i;
  if (self == NULL || program == NULL || per_node == NULL)
    return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "NULL argument");
  for (i = 0; i < program->n_nodes; i++) {
    per_node[i].supported = 0;
    per_node[i].why = FEWBIT_WHY_OP;
  }
  return FEWBIT_OK;
}

static fewbit_status compile(fewbit_device *self, const fewbit_program *program, fewbit_executable **out,
                             fewbit_error *error) {
  (void)self; (void)program; (void)out;
  return refuse(error, FEWBIT_UNSUPPORTED, FEWBIT_WHY_OP, "no operator yet");
}

static void executable_free(fewbit_executable *self) { free(self); }

static fewbit_status context_new(fewbit_executable *self, fewbit_context **out, fewbit_error *error) {
  (void)self; (void)out;
  return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "NULL argument");
}

static fewbit_status run(fewbit_context *self, const fewbit_tensor *const *in, uint32_t n_in,
                         fewbit_tensor *const *out, uint32_t n_out, fewbit_error *error) {
  (void)self; (void)in; (void)n_in; (void)out; (void)n_out;
  return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, "NULL argument");
}

static void context_free(fewbit_context *self) { free(self); }

#define TEXT(literal) {literal, sizeof literal - 1}

static const fewbit_plugin TABLE = {
    FEWBIT_MAGIC, sizeof(fewbit_plugin), FEWBIT_ABI_MAJOR, FEWBIT_ABI_MINOR, 0,
    TEXT("org.fewbit.sample-c"), TEXT("fewbit"), TEXT(PLUGIN_VERSION), TEXT("make"),
    init, NULL, NULL, device_count, device_open, device_close, capabilities, supports,
    compile, NULL, NULL, NULL, executable_free, context_new, run, context_free, NULL};

FEWBIT_EXPORT const fewbit_plugin *fewbit_plugin_query(uint32_t host_major, uint32_t host_minor) {
  (void)host_minor;
  return host_major == FEWBIT_ABI_MAJOR ? &TABLE : NULL;
}
