/* sample-c, but of another minor version: OLDER ends its table before the entries of minor 1, NEWER goes on behind
 * what this version knows. Both are sound plugins, which hosts of any minor version load. */
#define fewbit_plugin_query sample_query
#include "plugin.c"
#undef fewbit_plugin_query

#include <string.h>

FEWBIT_EXPORT const fewbit_plugin *fewbit_plugin_query(uint32_t host_major, uint32_t host_minor) {
  static struct {
    fewbit_plugin known;
    void (*unheard_of)(void);
  } table;
  const fewbit_plugin *sample = sample_query(host_major, host_minor);
  if (sample == NULL) return NULL;
#ifdef OLDER
  memset(&table, 0xff, sizeof table); /* what lies behind an older table is not the host's to read */
  memcpy(&table, sample, offsetof(fewbit_plugin, footprint));
  table.known.struct_size = offsetof(fewbit_plugin, footprint);
  table.known.abi_minor = 0;
#else
  table.known = *sample;
  table.known.struct_size = sizeof table;
  table.known.abi_minor = 7;
#endif
  return &table.known;
}
