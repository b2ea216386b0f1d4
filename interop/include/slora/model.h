/* A base model: a Hugging Face folder read once into packed weights on one backend. Owns the weights, the model's
 * configuration and the backend; knows nothing of pages, sequences or adapters. */
#ifndef SLORA_MODEL_H
#define SLORA_MODEL_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slora_model slora_model;

/* How a tensor-parallel model shares out the LoRA updates of its adapters. */
enum slora_lora_sharding {
  SLORA_LORA_SHARDING_ALIGNED = 0, /* as the base's matrices are cut: no collective of its own */
  SLORA_LORA_SHARDING_FULL = 1     /* A and B both cut, the intermediate exchanged: less memory and work a rank */
};

/* How to read a model. */
typedef struct slora_model_options {
  uint32_t struct_size;
  int32_t backend;          /* enum slora_backend */
  const char* path;         /* folder with config.json and model.safetensors or model.safetensors.index.json */
  uint64_t path_bytes;
  int32_t compute_dtype;    /* enum slora_dtype: of packed weights, KV and adapter pages. Host: F32 or BF16 */
  int32_t device_idx;       /* CUDA device; host: 0 */
  int32_t num_threads;      /* host compute threads, 1..256; 0: one a core */
  uint8_t synthetic;        /* 1: only config.json is read, the weights are random: N(0, initializer_range) */
  uint8_t reserved0[3];
  uint64_t synthetic_seed;  /* the same seed and config give the same weights on every machine */
  slora_progress* progress; /* may be null */
  uint32_t tp_size;         /* tensor-parallel ranks, 1..64; 0: 1. Must divide the attention heads. On the host each has
                             * num_threads / tp_size threads, one at least */
  int32_t lora_sharding;    /* enum slora_lora_sharding */
  const int32_t* tp_devices; /* [num_tp_devices]: the ranks' devices; null: device_idx and those after it. Host: null */
  uint32_t num_tp_devices;  /* tp_size, or 0 */
  uint32_t tp_join_ms;      /* how long to wait for the other ranks to come; 0: 60000 */
  const char* tp_listen;    /* host:port at which ranks 1.. are awaited, which are processes (slora_worker_run) on this
                             * host, or on any with CUDA; null: they are threads of this process */
  uint64_t tp_listen_bytes;
  const char* tp_secret;    /* what they must know, with tp_listen only */
  uint64_t tp_secret_bytes;
  uint32_t tp_limit_ms;     /* how long a rank may not answer before it counts as lost; 0: 30000 */
  uint32_t reserved1;
} slora_model_options;
#define SLORA_MODEL_OPTIONS_INIT \
  {(uint32_t)sizeof(slora_model_options), 0, NULL, 0, SLORA_DTYPE_BF16, 0, 0, 0, {0}, 0, NULL, \
   0, 0, NULL, 0, 0, NULL, 0, NULL, 0, 0, 0}

#define SLORA_MODEL_TEXT_BYTES 64

/* What a loaded model is. Counts are of the whole model. */
typedef struct slora_model_info {
  uint32_t struct_size;
  int32_t backend;                             /* enum slora_backend: the one chosen, host or CUDA */
  char architecture[SLORA_MODEL_TEXT_BYTES];   /* "LlamaForCausalLM" */
  int32_t compute_dtype;                       /* enum slora_dtype */
  uint32_t num_layers;
  uint32_t hidden_size;
  uint32_t intermediate_size;
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t head_size;
  uint32_t vocab_size;
  uint32_t max_position;                       /* max_position_embeddings: longest context in tokens */
  uint32_t num_threads;                        /* host compute threads in use; 0 on CUDA */
  uint64_t num_parameters;
  uint64_t weight_bytes;                       /* packed, as a step that touches every weight reads them */
  uint32_t tp_size;                            /* tensor-parallel ranks; num_threads and pages are each rank's own */
  int32_t lora_sharding;                       /* enum slora_lora_sharding */
} slora_model_info;
#define SLORA_MODEL_INFO_INIT \
  {(uint32_t)sizeof(slora_model_info), 0, {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Reads and packs a model. Files are memory-mapped, checked against config.json and converted to the compute dtype. With
 * tp_size above 1 every rank reads its own part only.
 *
 * @thread any @blocks
 * @return the model, to be given to slora_model_destroy; null with SLORA_ERROR_IO, SLORA_ERROR_FORMAT,
 *   SLORA_ERROR_UNSUPPORTED (an option that would change the result, by name), SLORA_ERROR_BACKEND,
 *   SLORA_ERROR_OUT_OF_MEMORY, SLORA_ERROR_CANCELLED, SLORA_ERROR_INVALID_ARGUMENT or SLORA_ERROR_STRUCT_SIZE. */
SLORA_API slora_model* slora_model_load(const slora_model_options* options, slora_error* error);

/* Fills `out_info`.
 * @thread any
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_model_get_info(const slora_model* model, slora_model_info* out_info, slora_error* error);

/* Gives the model back; its memory goes when the last engine on it is destroyed too. Accepts null.
 * @thread any @blocks */
SLORA_API void slora_model_destroy(slora_model* model);

/* How a process joins a tensor-parallel model as one of the ranks after the first. */
typedef struct slora_worker_options {
  uint32_t struct_size;
  uint32_t tp_rank;         /* 1..tp_size - 1 of rank 0's model */
  const char* join;         /* host:port at which rank 0 awaits (slora_model_options.tp_listen) */
  uint64_t join_bytes;
  const char* secret;       /* rank 0's */
  uint64_t secret_bytes;
  const char* model_path;   /* where this host has the model; null: where rank 0 has it */
  uint64_t model_path_bytes;
  int32_t device_idx;       /* CUDA device; host: 0 */
  int32_t num_threads;      /* host compute threads, 1..256; 0: one a core */
  uint32_t join_ms;         /* how long to wait for the other ranks to come; 0: 60000 */
  uint32_t limit_ms;        /* how long a rank may not answer before it counts as lost; 0: 30000 */
} slora_worker_options;
#define SLORA_WORKER_OPTIONS_INIT \
  {(uint32_t)sizeof(slora_worker_options), 1, NULL, 0, NULL, 0, NULL, 0, 0, 0, 0, 0}

/* Joins rank 0, loads its part of the model and runs it until rank 0's model is destroyed. Adapters are read from the
 * paths that rank 0 reads.
 *
 * @thread any @blocks
 * @return SLORA_OK once rank 0 has let go; SLORA_ERROR_INVALID_ARGUMENT (also where secret, version, rank or model are not
 *   rank 0's), SLORA_ERROR_IO, SLORA_ERROR_RANK_LOST, SLORA_ERROR_STRUCT_SIZE, or as slora_model_load. */
SLORA_API int32_t slora_worker_run(const slora_worker_options* options, slora_error* error);

#ifdef __cplusplus
}
#endif

#endif /* SLORA_MODEL_H */
