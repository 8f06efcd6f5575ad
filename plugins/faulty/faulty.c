/* sample-c with one defect, chosen by -DFAULT_name. faults.txt says what each
 * is; those that are a wrong piece of arithmetic or of the capability document
 * are in patches.txt.
 *
 * The sample's table stays as it is; the one that is exported has the defect. */
#define _GNU_SOURCE
#include <fewbit/plugin.h>

#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define fewbit_plugin_query sample_query
#undef FEWBIT_EXPORT
#define FEWBIT_EXPORT static
#include "plugin.c"
#undef fewbit_plugin_query

/* Hidden from the compiler, which would remove what must crash. */
static int *volatile nowhere;

static void crash(void) { *nowhere = 0; }

static void hang(void) {
  for (;;) sleep(1);
}

static void pause_for(long microseconds) {
  struct timespec time = {0, microseconds * 1000};
  nanosleep(&time, NULL);
}

void unwind(void);

/* ------------------------------------------------------------------ loading */

#if defined(FAULT_crash_in_constructor)
__attribute__((constructor)) static void at_load(void) { crash(); }
#endif

/* --------------------------------------------------------------------- init */

static fewbit_status faulty_init(const fewbit_host *host, fewbit_error *error) {
#if defined(FAULT_abort_in_init)
  abort();
#elif defined(FAULT_exit_in_init)
  exit(0);
#elif defined(FAULT_fail_in_init)
  return refuse(error, FEWBIT_UNSUPPORTED, FEWBIT_WHY_DRIVER, FEWBIT_ABSENT, "the driver is missing");
#elif defined(FAULT_exception_in_init) || defined(FAULT_panic_in_init)
  unwind();
#elif defined(FAULT_closes_descriptors)
  int descriptor;
  for (descriptor = 0; descriptor < 1024; descriptor++) close(descriptor);
#elif defined(FAULT_changes_directory)
  if (chdir("/") != 0) abort();
#elif defined(FAULT_changes_environment)
  setenv("FEWBIT_FAULTY", "1", 1);
#elif defined(FAULT_changes_locale)
  /* Any that is installed and is not "C". */
  if (setlocale(LC_ALL, "C.UTF-8") == NULL) setlocale(LC_ALL, "");
#elif defined(FAULT_changes_signal_handler)
  signal(SIGUSR1, SIG_IGN);
#elif defined(FAULT_changes_umask)
  umask(0);
#endif
  return init(host, error);
}

/* ------------------------------------------------------------------ devices */

static fewbit_status faulty_device_count(uint32_t *out, fewbit_error *error) {
#if defined(FAULT_four_billion_devices)
  *out = 0xFFFFFFFFu;
  return FEWBIT_OK;
#endif
  return device_count(out, error);
}

static fewbit_status faulty_device_open(uint32_t index, fewbit_device **out, fewbit_error *error) {
#if defined(FAULT_no_device_written)
  return FEWBIT_OK;
#elif defined(FAULT_four_billion_devices)
  index = 0;
#endif
  return device_open(index, out, error);
}

static void faulty_device_close(fewbit_device *device) {
#if defined(FAULT_crash_on_null)
  if (device == NULL) crash();
#endif
  device_close(device);
}

/* ------------------------------------------------------------- capabilities */

static fewbit_status faulty_capabilities(fewbit_device *device, const fewbit_sink *sink,
                                         fewbit_error *error) {
#if defined(FAULT_hang_in_capabilities)
  hang();
#elif defined(FAULT_crash_in_capabilities)
  crash();
#elif defined(FAULT_unstable_capability)
  /* Spaces before the document: the same JSON, other bytes. */
  static volatile size_t calls;
  size_t i, n = ++calls;
  for (i = 0; i < n; i++) sink->write(sink->ctx, " ", 1);
#elif defined(FAULT_huge_capability)
  static char piece[1 << 20];
  int i;
  memset(piece, ' ', sizeof piece);
  for (i = 0; i < 1024; i++) {
    fewbit_status status = sink->write(sink->ctx, piece, sizeof piece);
    if (status != FEWBIT_OK) return status;
  }
#elif defined(FAULT_ignores_the_sink)
  static char piece[1 << 20];
  int i;
  memset(piece, ' ', sizeof piece);
  for (i = 0; i < 1024; i++) sink->write(sink->ctx, piece, sizeof piece);
#elif defined(FAULT_broken_capability)
  return sink->write(sink->ctx, CAPABILITY_DOCUMENT, CAPABILITY_DOCUMENT_LENGTH / 2);
#elif defined(FAULT_deep_capability)
  int i;
  for (i = 0; i < 100000; i++) {
    fewbit_status status = sink->write(sink->ctx, "[", 1);
    if (status != FEWBIT_OK) return status;
  }
  return FEWBIT_OK;
#elif defined(FAULT_no_capability)
  return FEWBIT_OK;
#elif defined(FAULT_unknown_status)
  return 99;
#endif
  return capabilities(device, sink, error);
}

/* ----------------------------------------------------- supports and compile */

static fewbit_status faulty_supports(fewbit_device *device, const fewbit_program *program,
                                     fewbit_verdict *per_node, fewbit_error *error) {
  fewbit_status status;
  uint32_t i;
#if defined(FAULT_crash_in_supports)
  crash();
#elif defined(FAULT_crash_on_null_program)
  if (program == NULL) crash();
#endif
  status = supports(device, program, per_node, error);
  if (status != FEWBIT_OK) return status;
  for (i = 0; i < program->n_nodes; i++) {
#if defined(FAULT_yes_and_refuses)
    per_node[i].supported = 1;
    per_node[i].why = 0;
#elif defined(FAULT_no_reason)
    per_node[i].why = 0;
#elif defined(FAULT_unknown_verdict)
    per_node[i].supported = 7;
#endif
  }
  return status;
}

static fewbit_status faulty_compile(fewbit_device *device, const fewbit_program *program,
                                    fewbit_executable **out, fewbit_error *error) {
  fewbit_status status;
#if defined(FAULT_crash_in_compile)
  crash();
#elif defined(FAULT_crash_on_null_program)
  if (program == NULL) crash();
#elif defined(FAULT_no_executable_written)
  return FEWBIT_OK;
#endif
  status = compile(device, program, out, error);
  if (status != FEWBIT_OK) {
#if defined(FAULT_no_reason)
    error->why = 0;
#elif defined(FAULT_no_message)
    error->message[0] = '\0';
#elif defined(FAULT_endless_message)
    memset(error->message, 'e', sizeof error->message);
#elif defined(FAULT_message_not_utf8)
    memset(error->message, 0xFE, 20);
#endif
    return status;
  }
#if defined(FAULT_keeps_constants)
  /* The place of the first constant's copy in the host's memory instead. */
  {
    uint32_t i;
    for (i = 0; i < (*out)->n_values; i++) {
      struct tensor *value = &(*out)->program.values[i];
      if (value->place != P_CONSTANT || value->bytes == 0) continue;
      value->at = (size_t)((const char *)value->constant - (*out)->constants);
    }
  }
#elif defined(FAULT_leaking_executable)
  memset(malloc(1 << 18), 1, 1 << 18);
#endif
  return status;
}

static void faulty_executable_free(fewbit_executable *executable) {
#if defined(FAULT_leaking_executable)
  return;
#elif defined(FAULT_crash_in_free)
  if (executable != NULL) crash();
#elif defined(FAULT_crash_on_null)
  if (executable == NULL) crash();
#endif
  executable_free(executable);
}

/* ----------------------------------------------------------------- contexts */

static fewbit_status faulty_context_new(fewbit_executable *executable, fewbit_context **out,
                                        fewbit_error *error) {
#if defined(FAULT_leaking_context)
  memset(malloc(1 << 18), 1, 1 << 18);
#endif
  return context_new(executable, out, error);
}

static void faulty_context_free(fewbit_context *context) {
#if defined(FAULT_leaking_context)
  return;
#elif defined(FAULT_crash_on_null)
  if (context == NULL) crash();
#endif
  context_free(context);
}

/* Bytes of a tensor that the program asks for: there may be more. */
static size_t bytes_of(const fewbit_context *context, const fewbit_tensor *tensor) {
  return context->executable->program.values[tensor->value].bytes;
}

/* Runs with copies of the operands that outlive the call. */
static fewbit_status run_copies(fewbit_context *context, const fewbit_tensor *const *in, uint32_t n_in,
                                fewbit_tensor *const *out, uint32_t n_out, fewbit_error *error) {
  enum { MOST = 4, ROOM = 1 << 18 };
  static _Alignas(64) char kept[MOST][ROOM];
  static size_t kept_bytes[MOST];
  fewbit_tensor copies[MOST];
  const fewbit_tensor *list[MOST];
  uint32_t i;
  if (n_in == 0 || n_in > MOST) return run(context, in, n_in, out, n_out, error);
  for (i = 0; i < n_in; i++) {
    size_t bytes = bytes_of(context, in[i]);
    if (bytes > ROOM || in[i]->byte_len < bytes) return run(context, in, n_in, out, n_out, error);
  }
  for (i = 0; i < n_in; i++) {
    size_t bytes = bytes_of(context, in[i]), last = 0;
#if defined(FAULT_stale_scratch)
    /* What was there stays in the last element. */
    if (kept_bytes[i] == bytes && bytes > 0) last = context->executable->program.values[in[i]->value].size;
#endif
    memcpy(kept[i], in[i]->data, bytes - last);
    kept_bytes[i] = bytes;
    copies[i] = *in[i];
    copies[i].data = kept[i];
    list[i] = &copies[i];
  }
#if defined(FAULT_racing_contexts)
  pause_for(300);
#endif
  return run(context, list, n_in, out, n_out, error);
}

static fewbit_status faulty_run(fewbit_context *context, const fewbit_tensor *const *in, uint32_t n_in,
                                fewbit_tensor *const *out, uint32_t n_out, fewbit_error *error) {
  static volatile unsigned runs;
  fewbit_status status;
#if defined(FAULT_crash_in_run)
  crash();
#elif defined(FAULT_hang_in_run)
  hang();
#elif defined(FAULT_exit_in_run)
  exit(0);
#elif defined(FAULT_writes_nothing)
  return FEWBIT_OK;
#elif defined(FAULT_stale_scratch) || defined(FAULT_racing_contexts)
  return run_copies(context, in, n_in, out, n_out, error);
#elif defined(FAULT_short_buffer_ignored)
  {
    uint32_t i;
    for (i = 0; i < n_in; i++) ((fewbit_tensor *)in[i])->byte_len = SIZE_MAX;
    for (i = 0; i < n_out; i++) out[i]->byte_len = SIZE_MAX;
  }
#elif defined(FAULT_writes_not_all)
  if (context != NULL && n_out > 0 && out != NULL && out[0] != NULL && out[0]->data != NULL &&
      bytes_of(context, out[0]) > 0) {
    char *last = (char *)out[0]->data + bytes_of(context, out[0]) - 1, before = *last;
    status = run(context, in, n_in, out, n_out, error);
    *last = before;
    return status;
  }
#endif
  status = run(context, in, n_in, out, n_out, error);
  if (status != FEWBIT_OK || n_out == 0) return status;
  runs++;
#if defined(FAULT_overrun)
  memset((char *)out[0]->data + out[0]->byte_len, 0x5A, 4);
#elif defined(FAULT_underrun)
  memset((char *)out[0]->data - 4, 0x5A, 4);
#elif defined(FAULT_writes_input)
  if (n_in > 0 && bytes_of(context, in[0]) > 0) *(char *)in[0]->data ^= 1;
#elif defined(FAULT_frees_what_it_must_not)
  free(out[0]->data);
#elif defined(FAULT_unrepeatable)
  if (runs % 5 == 0 && bytes_of(context, out[0]) > 0) *(char *)out[0]->data ^= 1;
#elif defined(FAULT_rounding_mode)
  fesetround(FE_UPWARD);
#elif defined(FAULT_flushes_denormals) && defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(FAULT_flushes_denormals) && defined(__aarch64__)
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | (1u << 24)));
#endif
  return status;
}

/* ---------------------------------------------------------------- the table */

#if defined(FAULT_wrong_id)
#undef PLUGIN_ID
#define PLUGIN_ID "org.fewbit.somebody-else"
#endif
#if defined(FAULT_wrong_version)
#undef PLUGIN_VERSION
#define PLUGIN_VERSION "9.9.9"
#endif
#if defined(FAULT_wrong_magic)
#undef FEWBIT_MAGIC
#define FEWBIT_MAGIC 0xDEADBEEFu
#endif
#if defined(FAULT_wrong_major)
#undef FEWBIT_ABI_MAJOR
#define FEWBIT_ABI_MAJOR 2
#endif
#if defined(FAULT_short_table)
#define TABLE_SIZE 100
#else
#define TABLE_SIZE sizeof(fewbit_plugin)
#endif
#if defined(FAULT_unknown_flags)
#define FLAGS 0x80
#else
#define FLAGS 0
#endif
#if defined(FAULT_missing_run)
#define RUN NULL
#else
#define RUN faulty_run
#endif

static const fewbit_plugin FAULTY = {
    FEWBIT_MAGIC, TABLE_SIZE, FEWBIT_ABI_MAJOR, FEWBIT_ABI_MINOR, FLAGS,
    TEXT(PLUGIN_ID), TEXT("fewbit"), TEXT(PLUGIN_VERSION), TEXT("faulty"),
    faulty_init, deinit, NULL, faulty_device_count, faulty_device_open, faulty_device_close,
    faulty_capabilities, faulty_supports, faulty_compile, NULL, NULL, NULL,
    faulty_executable_free, faulty_context_new, RUN, faulty_context_free, footprint};

#if !defined(FAULT_no_symbol)
__attribute__((visibility("default")))
const fewbit_plugin *fewbit_plugin_query(uint32_t host_major, uint32_t host_minor) {
#if defined(FAULT_null_for_major_1)
  return NULL;
#elif defined(FAULT_impure_query)
  static fewbit_plugin tables[64];
  static volatile unsigned calls;
  fewbit_plugin *table = &tables[calls++ % 64];
  *table = FAULTY;
  return table;
#elif defined(FAULT_wrong_major)
  return &FAULTY;
#endif
  (void)host_minor;
  return host_major == FEWBIT_ABI_MAJOR ? &FAULTY : NULL;
}
#endif
