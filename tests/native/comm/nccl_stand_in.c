/* A library with a version and nothing else (SLORA_STAND_IN_VERSION), or with nothing at all. */
#if defined(SLORA_STAND_IN_VERSION)
__attribute__((visibility("default"))) int ncclGetVersion(int* version) {
  *version = SLORA_STAND_IN_VERSION;
  return 0;
}
#else
__attribute__((visibility("default"))) int slora_no_nccl(void) { return 0; }
#endif
