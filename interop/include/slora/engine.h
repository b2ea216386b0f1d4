/* The engine: one unified page pool, the sequences on it, and the step.
 *
 * The caller decides who runs; the engine decides where. A caller creates sequences, and for each step names in a plan
 * the sequences that run and how many of their tokens; the engine finds pages, makes adapters resident, runs the model
 * and samples. The tokens of a sequence live in the engine: its prompt from creation on, each sampled token from the
 * step that samples it. A row therefore never carries tokens: it runs the next `num_tokens` of its sequence's history,
 * and the last of these may be the token that a step still in flight is sampling (run-ahead by one).
 *
 * A step is a transaction: submit answers SLORA_OK, or a positive status with nothing changed, or a caller error with
 * nothing changed, or a fatal error that poisons the engine. Steps are collected in the order of their submission. */
#ifndef SLORA_ENGINE_H
#define SLORA_ENGINE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slora_engine slora_engine;

/* Which resident adapter gives its pages up first, of those that nobody uses. */
enum slora_eviction_policy {
  SLORA_EVICTION_DEFAULT = 0, /* the library's choice: COST */
  SLORA_EVICTION_LRU = 1,     /* the one that was used longest ago */
  SLORA_EVICTION_COST = 2     /* reload cost and frequency of use a page, aged (GreedyDual-Size-Frequency) */
};

/* How an experiment shares memory. */
enum slora_experiment_memory {
  SLORA_EXPERIMENT_MEMORY_UNIFIED = 0, /* the engine's own: KV and adapters take each other's pages */
  /* Adapters in a fixed contiguous region, each in one piece by first fit; KV in the rest. The region is
   * experiment_mean_adapter_bytes in whole pages times experiment_concurrency, at most nine tenths of the pool. Counters count it as adapter pages, used or not. */
  SLORA_EXPERIMENT_MEMORY_SPLIT = 1
};

/* How an experiment computes LoRA. */
enum slora_experiment_lora {
  SLORA_EXPERIMENT_LORA_PAGED = 0,  /* the engine's own kernels, in place */
  SLORA_EXPERIMENT_LORA_PADDED = 1, /* batched products over gathered, padded tensors; one adapter a sequence */
  /* Merged into the model's weights, of which a copy is kept: the base's bits come back by copying. A plan's rows all have
   * the same adapter, or none; an adapter has updates of linear modules alone and weight 1. The model serves no other
   * engine meanwhile. */
  SLORA_EXPERIMENT_LORA_MERGED = 2
};

/* When decode steps are recorded, to be replayed as one command (CUDA graphs). */
enum slora_recording {
  SLORA_RECORDING_DEFAULT = 0,  /* AT_START on CUDA; OFF on the host, which gains nothing by it */
  SLORA_RECORDING_OFF = 1,
  SLORA_RECORDING_ON_USE = 2,   /* a shape of step is recorded when it comes again */
  SLORA_RECORDING_AT_START = 3  /* the common shapes before the engine is ready, the others on use */
};

/* Sizes of an engine. All are fixed for its life. */
typedef struct slora_engine_options {
  uint32_t struct_size;
  uint32_t tokens_per_page;      /* tokens of one layer's K and V in a page; power of two, 1..256; 0: 16 */
  uint64_t pool_bytes;           /* the arena of each tensor-parallel rank: KV and adapter pages of all layers; 0: a rule
                                  * by free memory */
  uint64_t host_adapter_bytes;   /* budget of packed adapter images in host memory; 0: no limit */
  uint32_t max_sequences;        /* sequences at a time, 1..65536; 0: 256 */
  uint32_t max_batch_tokens;     /* tokens in one step, 1..32768; 0: 2048 */
  uint32_t max_batch_rows;       /* sequences in one step, 1..max_sequences and 16384; 0: the most */
  uint32_t max_context;          /* tokens of one sequence; 0 or more than the model's: the model's max_position */
  uint8_t check_every_step;      /* 1: walk the whole pool after each step (slora_engine_check); for tests */
  uint8_t reserved0[7];
  int32_t eviction_policy;       /* enum slora_eviction_policy */
  /* Experiments: what other systems do in place of this engine's own ideas, to measure what these are worth. The tokens
   * are the same. 0: none. */
  int32_t experiment_memory;      /* enum slora_experiment_memory */
  int32_t experiment_lora;        /* enum slora_experiment_lora */
  uint32_t experiment_concurrency; /* split memory: adapters at a time, 1..65536 */
  uint64_t experiment_mean_adapter_bytes; /* split memory: of one image, >= 1 */
  int32_t recording;              /* enum slora_recording */
  uint32_t max_recordings;        /* recorded steps kept, 1..65536; beyond it those go that were used longest ago; 0: 512 */
  uint64_t recording_bytes;       /* device memory that they may hold on each rank; 0: 512 MiB, or a quarter of what is
                                   * free if that is less */
} slora_engine_options;
#define SLORA_ENGINE_OPTIONS_INIT \
  {(uint32_t)sizeof(slora_engine_options), 0, 0, 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0, 0, 0, 0, 0, 0}

/* The page arithmetic and limits in force, published once. A page is `page_bytes` in each layer's slice of the arena,
 * so one page of KV holds `tokens_per_page` tokens of all layers. */
typedef struct slora_engine_geometry {
  uint32_t struct_size;
  uint32_t tokens_per_page;
  uint64_t page_bytes;        /* of one layer's slice; a page costs num_layers times as much */
  uint32_t num_pages;
  uint32_t num_layers;
  uint32_t max_sequences;
  uint32_t max_batch_tokens;
  uint32_t max_batch_rows;
  uint32_t max_context;       /* tokens */
  uint32_t vocab_size;
  uint32_t max_logprobs;      /* largest slora_sampling_options.num_logprobs */
  uint64_t arena_bytes;       /* num_pages * num_layers * page_bytes */
} slora_engine_geometry;
#define SLORA_ENGINE_GEOMETRY_INIT {(uint32_t)sizeof(slora_engine_geometry), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Where the pages are and what the pool has done since its creation. free + kv + adapter = total, always. */
typedef struct slora_pool_counters {
  uint32_t struct_size;
  uint32_t total_pages;
  uint32_t free_pages;
  uint32_t kv_pages;
  uint32_t adapter_pages;
  uint32_t evictable_pages;      /* of adapter_pages: of adapters that no sequence holds and nobody pins or loads */
  uint32_t num_sequences;
  uint32_t resident_adapters;
  uint32_t host_adapters;        /* adapters with a host image, resident or not */
  uint32_t reserved0;
  uint64_t host_adapter_bytes;   /* an image that adapters share counts once */
  uint64_t adapter_loads;        /* copies of an image into pages */
  uint64_t adapter_load_bytes;
  uint64_t adapter_hits;         /* (step, adapter) pairs that found the adapter resident */
  uint64_t adapter_evictions;
  uint64_t preemptions;
  uint64_t steps;
  uint64_t tokens;               /* rows' tokens run, in all steps */
  uint64_t adapter_waited_loads; /* of adapter_loads: begun by a step with rows that wait for them, not ahead of need */
  uint64_t adapter_unused_loads; /* of adapter_loads: evicted again before any step had read the pages */
  uint32_t recordings;           /* recorded decode steps that are kept now */
  uint32_t start_recordings;     /* those made before the engine was ready */
  uint64_t recording_bytes;      /* device memory that the kept ones hold, on the rank where they hold most; measured by
                                  * what is free before and after each is made */
  uint64_t recording_ns;         /* time spent on recording */
  uint64_t recordings_made;
  uint64_t recordings_dropped;
  uint64_t replayed_steps;       /* steps that ran as a recording */
} slora_pool_counters;
#define SLORA_POOL_COUNTERS_INIT \
  {(uint32_t)sizeof(slora_pool_counters), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* What rank 0 of a tensor-parallel engine has exchanged with the others since the engine was created. All zero with one
 * rank. A step that replays a recorded graph (CUDA) is counted once, when it is recorded. */
typedef struct slora_traffic {
  uint32_t struct_size;
  uint32_t tp_size;
  uint64_t all_reduces;
  uint64_t all_reduce_bytes;     /* of one rank's operands */
  uint64_t all_gathers;
  uint64_t all_gather_bytes;     /* of one rank's parts */
  uint64_t broadcasts;
  uint64_t broadcast_bytes;
  uint64_t sent_bytes;           /* what a rank sends for all of these in a ring of N: 2 (N-1)/N of an all_reduce's operand,
                                  * N-1 times an all_gather's part, (N-1)/N of a broadcast */
  uint64_t messages;             /* between the ranks' hosts */
  uint64_t message_bytes;
} slora_traffic;
#define SLORA_TRAFFIC_INIT {(uint32_t)sizeof(slora_traffic), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Creates an engine on a model, takes its memory once and records the decode steps that most traffic has.
 * @thread any @blocks
 * @return the engine, to be given to slora_engine_destroy; null with SLORA_ERROR_INVALID_ARGUMENT,
 *   SLORA_ERROR_STRUCT_SIZE, SLORA_ERROR_OUT_OF_MEMORY, SLORA_ERROR_UNSUPPORTED (an experiment that the backend lacks, or
 *   on several ranks) or SLORA_ERROR_WRONG_STATE (a model of several tensor-parallel ranks serves one engine at a time). */
SLORA_API slora_engine* slora_engine_create(slora_model* model, const slora_engine_options* options,
                                            slora_error* error);

/* The same with the progress of recording, in steps in place of bytes: it may take seconds.
 * @thread any @blocks
 * @return as slora_engine_create, or null with SLORA_ERROR_CANCELLED; `progress` may be null and is not kept. */
SLORA_API slora_engine* slora_engine_create_watched(slora_model* model, const slora_engine_options* options,
                                                    slora_progress* progress, slora_error* error);

/* Ends every sequence and gives the engine back; waits for steps in flight. Its memory goes when its last adapter is
 * unloaded too. Accepts null.
 * @thread engine @blocks */
SLORA_API void slora_engine_destroy(slora_engine* engine);

/* Fills `out_geometry`.
 * @thread any
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_engine_get_geometry(const slora_engine* engine, slora_engine_geometry* out_geometry,
                                            slora_error* error);

/* Fills `out_counters` with a consistent picture of now.
 * @thread any @blocks
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_engine_get_counters(const slora_engine* engine, slora_pool_counters* out_counters,
                                            slora_error* error);

/* Fills `out_traffic`.
 * @thread any
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_engine_get_traffic(const slora_engine* engine, slora_traffic* out_traffic, slora_error* error);

/* Whose a page is. */
enum slora_page_owner {
  SLORA_PAGE_FREE = 0,
  SLORA_PAGE_KV = 1,
  SLORA_PAGE_ADAPTER = 2
};

/* Writes the owner (enum slora_page_owner, one byte a page) of pages [0, capacity) to `out_owners`: a picture of the
 * pool cheap enough for a live display.
 * @thread any @blocks
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT if capacity is below slora_engine_geometry.num_pages. */
SLORA_API int32_t slora_engine_get_page_owners(const slora_engine* engine, uint8_t* out_owners, uint64_t capacity,
                                               slora_error* error);

/* Proves the pool's invariants: free + kv + adapter = total, one owner a page, reference counts as held.
 * @thread engine @blocks
 * @return SLORA_OK; SLORA_ERROR_INTERNAL with the broken invariant (the engine is then poisoned). */
SLORA_API int32_t slora_engine_check(slora_engine* engine, slora_error* error);

/* ---- sequences ---------------------------------------------------------------------------------------------------- */

/* A token whose logit is raised by `bias` before anything else is applied. */
typedef struct slora_logit_bias {
  int32_t token_id;
  float bias; /* added to the logit; -100 and below effectively bans, finite */
} slora_logit_bias;

/* How a sequence's tokens are drawn. The order is that of transformers' generate(): logit bias, repetition, presence
 * and frequency penalty, temperature, top-k, top-p, min-p, typical-p. Neutral values: INIT's. */
typedef struct slora_sampling_options {
  uint32_t struct_size;
  float temperature;         /* >= 0; 0: greedy, the first largest logit after bias and penalties */
  int32_t top_k;             /* >= 0; 0: off */
  float top_p;               /* (0, 1]; 1: off */
  float min_p;               /* [0, 1]; 0: off */
  float typical_p;           /* (0, 1]; 1: off */
  float repetition_penalty;  /* > 0; 1: off. Divides positive and multiplies negative logits of prompt and output */
  float presence_penalty;    /* [-2, 2]; subtracted once from each token of the output */
  float frequency_penalty;   /* [-2, 2]; subtracted once an occurrence in the output */
  uint32_t num_logprobs;     /* log-probabilities of the N most likely tokens a sampled token, besides its own */
  uint64_t seed;             /* same seed, prompt, options and adapters: same tokens, whatever else is in the batch */
  const slora_logit_bias* logit_bias; /* [num_logit_bias]; copied */
  uint32_t num_logit_bias;
  uint32_t reserved0;
} slora_sampling_options;
#define SLORA_SAMPLING_OPTIONS_INIT \
  {(uint32_t)sizeof(slora_sampling_options), 0.0f, 0, 1.0f, 0.0f, 1.0f, 1.0f, 0.0f, 0.0f, 0, 0, NULL, 0, 0}

/* One adapter of a sequence and the factor on its own scale. */
typedef struct slora_adapter_weight {
  uint64_t adapter_id; /* slora_adapter_info.adapter_id */
  float weight;        /* 1: as trained; finite */
  uint32_t reserved0;
} slora_adapter_weight;

/* A new sequence. Everything it points to is copied. */
typedef struct slora_sequence_options {
  uint32_t struct_size;
  uint32_t num_prompt_tokens;          /* 1..max_context */
  uint64_t sequence_id;                /* chosen by the caller, unique among live sequences, not 0 */
  const int32_t* prompt_tokens;        /* [num_prompt_tokens], each in [0, vocab_size) */
  const slora_adapter_weight* adapters; /* [num_adapters]; none: the base model */
  uint32_t num_adapters;
  uint32_t max_tokens;                 /* prompt and output in all, num_prompt_tokens + 1..max_context; 0: max_context */
  const slora_sampling_options* sampling; /* copied; null: greedy, everything off */
} slora_sequence_options;
#define SLORA_SEQUENCE_OPTIONS_INIT \
  {(uint32_t)sizeof(slora_sequence_options), 0, 0, NULL, NULL, 0, 0, NULL}

/* Where a sequence stands. */
typedef struct slora_sequence_info {
  uint32_t struct_size;
  uint32_t num_tokens;     /* history: prompt and collected or in-flight samples */
  uint32_t num_computed;   /* tokens whose K and V are in pages, steps in flight counted */
  uint32_t num_pages;      /* pages it holds */
} slora_sequence_info;
#define SLORA_SEQUENCE_INFO_INIT {(uint32_t)sizeof(slora_sequence_info), 0, 0, 0}

/* Creates a sequence: takes a slot and a reference on each adapter, no pages.
 * @thread engine
 * @return SLORA_OK; SLORA_DEFERRED_SLOTS; SLORA_ERROR_INVALID_ARGUMENT (the message has value and limit),
 *   SLORA_ERROR_UNSUPPORTED (a sum of adapters that is not defined, or not in the engine's experiment),
 *   SLORA_ERROR_NOT_FOUND (adapter), SLORA_ERROR_ALREADY_EXISTS (id), SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_sequence_create(slora_engine* engine, const slora_sequence_options* options,
                                        slora_error* error);

/* Ends a sequence. Its pages, slot and adapter references go at once, or at the collect of the last step in flight
 * that names it; the rows of such steps are reported as dropped.
 * @thread engine
 * @return SLORA_OK; SLORA_ERROR_NOT_FOUND. */
SLORA_API int32_t slora_sequence_release(slora_engine* engine, uint64_t sequence_id, slora_error* error);

/* Takes a sequence's pages and keeps its history: num_computed becomes 0, later rows compute its tokens again, and its
 * next sample is the one it would have been. Not legal while a step in flight names it.
 * @thread engine
 * @return SLORA_OK; SLORA_ERROR_NOT_FOUND; SLORA_ERROR_WRONG_STATE. */
SLORA_API int32_t slora_sequence_preempt(slora_engine* engine, uint64_t sequence_id, slora_error* error);

/* Fills `out_info`.
 * @thread engine
 * @return SLORA_OK; SLORA_ERROR_NOT_FOUND, SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_sequence_get_info(const slora_engine* engine, uint64_t sequence_id,
                                          slora_sequence_info* out_info, slora_error* error);

/* ---- the step ----------------------------------------------------------------------------------------------------- */

/* What a row of a plan asks for; may be combined. */
enum slora_row_flags {
  /* Sample a token after the row's last one. Legal only if the row ends at the end of the history. */
  SLORA_ROW_SAMPLE = 1,
  /* Return the logits after each token of the row: fp32 [num_tokens, vocab_size], as the model gives them. */
  SLORA_ROW_LOGITS = 2
};

/* One sequence in one step. */
typedef struct slora_plan_row {
  uint64_t sequence_id;  /* at most one row a sequence and step */
  uint32_t num_tokens;   /* the next tokens of its history to compute, >= 1 */
  uint32_t first_token;  /* index in the history of the first of them: must equal the engine's num_computed */
  uint32_t flags;        /* enum slora_row_flags */
  uint32_t reserved0;
} slora_plan_row;

/* A step. The arrays are read during the call only. Rows may come in any order. */
typedef struct slora_plan {
  uint32_t struct_size;
  uint32_t num_rows;                    /* 1..max_batch_rows */
  const slora_plan_row* rows;           /* [num_rows] */
  /* [num_prefetch]: adapters that waiting requests need, the soonest first, resident or not. Those that are not become
   * resident as far as free pages and those of idle adapters outside this list allow; those that are stay before others
   * that are idle. Holds until the next plan; never defers. */
  const uint64_t* prefetch_adapter_ids;
  uint32_t num_prefetch;
  uint32_t reserved0;
} slora_plan;
#define SLORA_PLAN_INIT {(uint32_t)sizeof(slora_plan), 0, NULL, NULL, 0, 0}

/* Reserves pages and adapters for every row, packs the batch and starts the step. At most two steps are in flight: the
 * second may be submitted before the first is collected and may continue the sequences that the first samples.
 *
 * Semantics: all or nothing. With SLORA_OK each row's num_computed has advanced and, with SLORA_ROW_SAMPLE, its
 * history has grown by the token to be sampled.
 * @thread engine
 * @return SLORA_OK; SLORA_DEFERRED_PAGES, SLORA_DEFERRED_ADAPTER, SLORA_DEFERRED_STEP; SLORA_ERROR_INVALID_PLAN,
 *   SLORA_ERROR_NOT_FOUND, SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE; fatal errors. */
SLORA_API int32_t slora_engine_submit(slora_engine* engine, const slora_plan* plan, slora_error* error);

/* What became of a row; may be combined. */
enum slora_row_result_flags {
  SLORA_ROW_RESULT_SAMPLED = 1, /* token_id and logprob hold the sampled token */
  SLORA_ROW_RESULT_DROPPED = 2  /* the sequence was released after the submit: nothing to read */
};

/* What a row gave, in the order of the plan's rows. */
typedef struct slora_row_result {
  uint64_t sequence_id;
  int32_t token_id;             /* -1 if none was sampled */
  float logprob;                /* natural log-probability of token_id under the model's own logits */
  uint32_t flags;               /* enum slora_row_result_flags */
  uint32_t num_logprobs;
  uint64_t logprobs_offset;     /* into slora_step_result.logprobs, most likely first */
  uint64_t logits_offset;       /* into slora_step_result.logits, in floats */
  uint32_t num_logit_tokens;    /* tokens with logits: num_tokens of the row, or 0 */
  uint32_t reserved0;
} slora_row_result;

/* A token and its natural log-probability under the model's own logits. */
typedef struct slora_token_logprob {
  int32_t token_id;
  float logprob;
} slora_token_logprob;

/* What happened to an adapter's pages. */
enum slora_residency_event_kind {
  SLORA_RESIDENCY_LOADED = 1,  /* the adapter's copy ended: it is resident */
  SLORA_RESIDENCY_EVICTED = 2  /* its pages were taken for something else */
};

/* A change of an adapter's residency. */
typedef struct slora_residency_event {
  uint64_t adapter_id;
  int32_t kind;                /* enum slora_residency_event_kind */
  uint32_t reserved0;
} slora_residency_event;

/* Room for the outcome of a step; arrays and capacities are the caller's, counts are the library's. */
typedef struct slora_step_result {
  uint32_t struct_size;
  uint32_t num_rows;                /* out */
  slora_row_result* rows;           /* [rows_capacity] */
  uint64_t rows_capacity;           /* at least the num_rows of the plan */
  slora_token_logprob* logprobs;    /* [logprobs_capacity]; may be null with capacity 0 */
  uint64_t logprobs_capacity;       /* at least the sum of the sampled rows' num_logprobs */
  float* logits;                    /* [logits_capacity]; may be null with capacity 0 */
  uint64_t logits_capacity;         /* in floats; at least vocab_size * tokens of rows with SLORA_ROW_LOGITS */
  slora_residency_event* events;    /* [events_capacity]; events that do not fit wait for the next collect */
  uint64_t events_capacity;
  uint64_t num_events;              /* out */
  uint64_t step_idx;                /* out: 0 for the first step of the engine */
  uint64_t device_ns;               /* out: time the step took on the device */
  slora_pool_counters* pool;        /* filled after the step; may be null */
} slora_step_result;
#define SLORA_STEP_RESULT_INIT \
  {(uint32_t)sizeof(slora_step_result), 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, 0, 0, 0, NULL}

/* Waits for the oldest step in flight and writes what it gave. If an array is too small nothing is collected and the
 * message names the capacity needed.
 *
 * Semantics: releases what was waiting for this step; frees pages of sequences released meanwhile.
 * @thread engine @blocks
 * @return SLORA_OK; SLORA_NOTHING_IN_FLIGHT; SLORA_ERROR_INVALID_ARGUMENT (null or too small an array),
 *   SLORA_ERROR_STRUCT_SIZE; fatal errors. */
SLORA_API int32_t slora_engine_collect(slora_engine* engine, slora_step_result* result, slora_error* error);

#ifdef __cplusplus
}
#endif

#endif /* SLORA_ENGINE_H */
