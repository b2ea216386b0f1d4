/* What every other SLoRA header rests on: status codes, the caller's error record, text, versions, the log sink.
 *
 * The rules of this ABI, said once:
 *   - C11, nothing but <stdint.h> and <stddef.h>; fixed-width fields, explicit padding, no bit fields, no unions.
 *   - Every struct that may grow begins with `struct_size`; set it with its SLORA_..._INIT macro. Of a struct that the
 *     library reads, an unknown tail must be zero and a missing tail is taken as zero; of one that it fills, it writes
 *     the fields that both sides know and leaves the rest alone. Such structs refer to each other by pointer, never by
 *     value, so that each can grow.
 *   - A creator returns the handle, or null with the reason in `slora_error`; the matching destroy accepts null.
 *     A child (engine, adapter) keeps its parent (model, engine) alive, so any order of destruction is legal.
 *   - Text is UTF-8 as pointer and byte length; it need not end in a zero byte and is copied before the call returns.
 *   - Status: 0 done; positive: not done, nothing changed, try later; negative: an error of one of three classes.
 *   - `slora_error*` is always last and may be null. It is the caller's memory and is written on every call that fails.
 *   - Thread tags: `@thread any` from any thread at any time; `@thread engine` by one thread at a time for one engine;
 *     `@thread setup` before the object is shared. `@blocks` if the call may wait for a device, a disk or a lock.
 */
#ifndef SLORA_TYPES_H
#define SLORA_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(SLORA_BUILDING_LIBRARY)
#define SLORA_API __declspec(dllexport)
#else
#define SLORA_API __declspec(dllimport)
#endif
#else
#define SLORA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this contract: raised when a field or an export is added (minor, low 16 bits) or changes meaning
 * (major, high 16 bits). A program works with a library of the same major and the same or a higher minor. */
#define SLORA_ABI_VERSION_MAJOR 1
#define SLORA_ABI_VERSION_MINOR 1
#define SLORA_ABI_VERSION ((uint32_t)((SLORA_ABI_VERSION_MAJOR << 16) | SLORA_ABI_VERSION_MINOR))

/* Outcome of a call. The class of an error is its hundreds: -1xx caller (fix the call and go on), -2xx environment (the
 * object is unchanged), -3xx fatal (only destroy is legal). */
enum slora_status {
  SLORA_OK = 0,
  /* Not enough free or reclaimable pages for the plan. Nothing changed; preempt a sequence or wait. */
  SLORA_DEFERRED_PAGES = 1,
  /* An adapter of the plan cannot become resident now: pinned and active adapters fill the pool, or loads under way hold
   * the pages that the plan needs. Nothing changed. */
  SLORA_DEFERRED_ADAPTER = 2,
  /* Every sequence slot of the engine is taken. Nothing changed. */
  SLORA_DEFERRED_SLOTS = 3,
  /* Two steps are already in flight: collect one first. Nothing changed. */
  SLORA_DEFERRED_STEP = 4,
  /* collect: no step is in flight. Nothing changed. */
  SLORA_NOTHING_IN_FLIGHT = 5,

  SLORA_ERROR_INVALID_ARGUMENT = -101, /* null where a value is needed, a number outside its limits, bad text */
  SLORA_ERROR_STRUCT_SIZE = -102,      /* struct_size too small, or non-zero bytes past what this library knows */
  SLORA_ERROR_INVALID_PLAN = -103,     /* a plan that contradicts the engine's state; the message names the row */
  SLORA_ERROR_NOT_FOUND = -104,        /* no such sequence or adapter */
  SLORA_ERROR_ALREADY_EXISTS = -105,   /* the id is in use */
  SLORA_ERROR_UNSUPPORTED = -106,      /* a named option that this version does not implement */
  SLORA_ERROR_WRONG_STATE = -107,      /* legal call at an illegal moment */

  SLORA_ERROR_IO = -201,               /* file missing, unreadable or shorter than it says */
  SLORA_ERROR_FORMAT = -202,           /* file read but wrong: key, value and limit are in the message */
  SLORA_ERROR_OUT_OF_MEMORY = -203,    /* host or device memory, or the host adapter budget */
  SLORA_ERROR_BACKEND = -204,          /* the asked backend or device is not available */
  SLORA_ERROR_CANCELLED = -205,        /* the caller set slora_progress.cancel */

  SLORA_ERROR_DEVICE_LOST = -301,      /* the device failed in mid-step: the engine is poisoned */
  SLORA_ERROR_INTERNAL = -302,         /* an invariant did not hold: the engine is poisoned */
  SLORA_ERROR_RANK_LOST = -303         /* a rank of the group died, stalled or gave up; the message names it */
};

/* Numeric formats of weights, KV cache and adapter pages. */
enum slora_dtype {
  SLORA_DTYPE_F32 = 0,
  SLORA_DTYPE_BF16 = 1,
  SLORA_DTYPE_F16 = 2
};

/* Which backend runs a model. */
enum slora_backend {
  SLORA_BACKEND_AUTO = 0, /* the environment variable SLORA_BACKEND, else CUDA if a device answers, else host */
  SLORA_BACKEND_HOST = 1,
  SLORA_BACKEND_CUDA = 2  /* fails where no device answers; never falls back */
};

/* Weight of a log line. */
enum slora_log_level {
  SLORA_LOG_DEBUG = 0,
  SLORA_LOG_INFO = 1,
  SLORA_LOG_WARNING = 2,
  SLORA_LOG_ERROR = 3
};

#define SLORA_ERROR_MESSAGE_BYTES 960
#define SLORA_ERROR_SITE_BYTES 56

/* The caller's error record. Written whole by a call that fails, left alone by one that succeeds. */
typedef struct slora_error {
  uint32_t struct_size;
  int32_t status;                           /* enum slora_status */
  char site[SLORA_ERROR_SITE_BYTES];        /* the export or file:line that refused; zero-terminated */
  char message[SLORA_ERROR_MESSAGE_BYTES];  /* one line, UTF-8, zero-terminated: what, the value, the limit */
} slora_error;
#define SLORA_ERROR_INIT {(uint32_t)sizeof(slora_error), 0, {0}, {0}}

/* Progress of a long call, in memory of the caller that must outlive the call. The library writes the two counters
 * (atomically, from the calling thread or its workers) and reads `cancel`, so another thread may poll and cancel. */
typedef struct slora_progress {
  uint32_t struct_size;
  uint32_t cancel;       /* set to 1 by the caller to end the call with SLORA_ERROR_CANCELLED */
  uint64_t done_bytes;   /* bytes read and packed so far */
  uint64_t total_bytes;  /* bytes in all; 0 until known */
} slora_progress;
#define SLORA_PROGRESS_INIT {(uint32_t)sizeof(slora_progress), 0, 0, 0}

/* A log line. `message` is UTF-8 of `message_bytes` bytes and valid during the call only. The sink may be called from
 * any thread, must not call back into the library and must not throw or unwind. */
typedef void (*slora_log_sink)(void* user_data, int32_t level, const char* message, uint64_t message_bytes);

/* The version of the ABI that this library implements: SLORA_ABI_VERSION of the headers it was built with.
 * @thread any */
SLORA_API uint32_t slora_abi_version(void);

/* One line about this build: version, compiler, build type. Static storage, zero-terminated, never null.
 * @thread any */
SLORA_API const char* slora_build_info(void);

/* The name of a status ("SLORA_DEFERRED_PAGES"), or "SLORA_UNKNOWN_STATUS". Static storage, zero-terminated.
 * @thread any */
SLORA_API const char* slora_status_name(int32_t status);

/* Sends log lines of `min_level` (enum slora_log_level) and above to `sink`; a null sink silences the library, which
 * is also how it starts. `user_data` is handed back with each line.
 *
 * Semantics: replaces the process-wide sink; when the call returns no call into the old sink is running.
 * @thread any @blocks
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT for an unknown level. */
SLORA_API int32_t slora_log_set_sink(slora_log_sink sink, void* user_data, int32_t min_level, slora_error* error);

/* One row of the library's own table of struct layouts, against which bindings are tested. */
typedef struct slora_layout_entry {
  const char* struct_name; /* "slora_error" */
  const char* field_name;  /* "status"; null in the row of the struct itself */
  uint64_t offset_bytes;   /* 0 in the row of the struct itself */
  uint64_t size_bytes;
} slora_layout_entry;

/* The number of rows of the layout table.
 * @thread any */
SLORA_API uint64_t slora_layout_count(void);

/* Row `entry_idx` of the layout table in static storage, or null past its end.
 * @thread any */
SLORA_API const slora_layout_entry* slora_layout_get(uint64_t entry_idx);

#define SLORA_BACKEND_TEXT_BYTES 128

/* What a backend offers on this machine. */
typedef struct slora_backend_info {
  uint32_t struct_size;
  int32_t backend;                         /* enum slora_backend: host or CUDA */
  int32_t device_count;
  int32_t num_threads;                     /* host: threads the backend would use; CUDA: 0 */
  uint64_t memory_bytes;                   /* of the device; host: physical memory */
  uint64_t free_memory_bytes;
  char device_name[SLORA_BACKEND_TEXT_BYTES];  /* "AMD EPYC ...", "NVIDIA H100 80GB HBM3" */
  char features[SLORA_BACKEND_TEXT_BYTES];     /* "avx512 avx512_bf16", "sm_90" */
} slora_backend_info;
#define SLORA_BACKEND_INFO_INIT {(uint32_t)sizeof(slora_backend_info), 0, 0, 0, 0, 0, {0}, {0}}

/* Asks what `backend` (enum slora_backend; AUTO resolves as a model load would) offers, without allocating on it.
 * The CUDA backend is a plugin, libslora_cuda.so beside this library; where it or a device is missing the message
 * lists every path tried with the loader's own words.
 * @thread any @blocks
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE, SLORA_ERROR_BACKEND. */
SLORA_API int32_t slora_backend_probe(int32_t backend, slora_backend_info* out_info, slora_error* error);

#ifdef __cplusplus
}
#endif

#endif /* SLORA_TYPES_H */
