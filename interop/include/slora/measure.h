/* What a backend can do at best on this machine, measured now: the ceilings that a step's time is compared with. */
#ifndef SLORA_MEASURE_H
#define SLORA_MEASURE_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What to measure. A size of 0 leaves that measurement out. */
typedef struct slora_measure_options {
  uint32_t struct_size;
  int32_t backend;        /* enum slora_backend */
  int32_t device_idx;     /* CUDA device; host: 0 */
  int32_t num_threads;    /* host compute threads, 1..256; 0: one a core */
  int32_t compute_dtype;  /* enum slora_dtype: of the matmul's W; host: F32 or BF16 */
  uint32_t num_rounds;    /* rounds of each, after two that do not count; 1..1000; 0: 10 */
  uint64_t copy_bytes;    /* of a copy within the device; twice as much memory is taken for it */
  uint64_t upload_bytes;  /* of a copy from pinned host memory to the device */
  uint32_t matmul_m;      /* y [m, n] = x [m, k] W [n, k]^T, as a step computes it; all three or none, each up to 2^20 */
  uint32_t matmul_n;
  uint32_t matmul_k;
  uint32_t reserved0;
} slora_measure_options;
#define SLORA_MEASURE_OPTIONS_INIT \
  {(uint32_t)sizeof(slora_measure_options), 0, 0, 0, SLORA_DTYPE_BF16, 0, 0, 0, 0, 0, 0, 0}

/* Medians of the rounds; 0 for what was left out. */
typedef struct slora_measurement {
  uint32_t struct_size;
  int32_t backend;                 /* enum slora_backend: the one measured, host or CUDA */
  double copy_bytes_per_second;    /* read and written: 2 * copy_bytes over the time */
  double upload_bytes_per_second;  /* upload_bytes over the time */
  double matmul_seconds;           /* of one product: 2 m n k operations */
} slora_measurement;
#define SLORA_MEASUREMENT_INIT {(uint32_t)sizeof(slora_measurement), 0, 0.0, 0.0, 0.0}

/* Opens the backend, measures alone on it and gives its memory back. What else runs on the device lowers the figures.
 * @thread any @blocks
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT (the value and the limit), SLORA_ERROR_STRUCT_SIZE,
 *   SLORA_ERROR_UNSUPPORTED (the dtype), SLORA_ERROR_BACKEND, SLORA_ERROR_OUT_OF_MEMORY. */
SLORA_API int32_t slora_backend_measure(const slora_measure_options* options, slora_measurement* out_measurement,
                                        slora_error* error);

#ifdef __cplusplus
}
#endif

#endif /* SLORA_MEASURE_H */
