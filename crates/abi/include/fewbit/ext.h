/* fewbit/ext.h - optional families of functions, asked for by id.
 *
 * A plugin asks the host (fewbit_host.get_extension), the host asks the plugin
 * (fewbit_plugin.get_extension). NULL means absent, which is always allowed.
 * An id names one layout for ever: a change is a new id (".../2"). The structs
 * begin with struct_size and grow like those of plugin.h.
 *
 * Ids that are reserved and not specified yet: fewbit.async/1, fewbit.memory/1,
 * fewbit.dlpack/1, fewbit.host.trace/1.
 */
#ifndef FEWBIT_EXT_H
#define FEWBIT_EXT_H

#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Offered by hosts. Runs body(arg, 0 .. n-1) on the host's threads and returns
 * when all are done. A plugin that starts no threads of its own neither
 * oversubscribes the machine nor depends on how many there are. Not to be
 * called from inside a body. */
#define FEWBIT_EXT_HOST_PARALLEL "fewbit.host.parallel/1"
typedef struct {
  uint32_t struct_size;
  uint32_t threads; /* how many bodies can run at once, at least 1 */
  void *ctx;
  void (*parallel_for)(void *ctx, uint32_t n, void (*body)(void *arg, uint32_t i),
                       void *arg); /* [any] */
} fewbit_ext_host_parallel;

/* Offered by plugins. What a node would take, for the planner to use instead of
 * the roofline of the capability document. */
#define FEWBIT_EXT_COST "fewbit.cost/1"
typedef struct {
  double nanoseconds; /* NaN: not known, as below */
  double nanojoules;
  double bytes; /* across the outermost memory */
} fewbit_cost; /* [frozen] */
typedef struct {
  uint32_t struct_size;
  uint32_t reserved;
  fewbit_status (*estimate)(fewbit_device *, const fewbit_program *, fewbit_cost *per_node,
                            fewbit_error *); /* [any] */
} fewbit_ext_cost;

/* Offered by plugins. Times of the last run of a context whose program was
 * compiled with the option profile = 1. A node that ran as part of another has
 * 0; the time of all belongs to the first. */
#define FEWBIT_EXT_PROFILE "fewbit.profile/1"
typedef struct {
  uint32_t struct_size;
  uint32_t reserved;
  fewbit_status (*node_times)(fewbit_context *, uint64_t *nanoseconds, uint32_t n_nodes,
                              fewbit_error *); /* [obj] */
} fewbit_ext_profile;

#ifdef __cplusplus
}
#endif
#endif
