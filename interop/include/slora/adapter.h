/* LoRA adapters of an engine. An adapter handle is one revision of one adapter: its packed host image, ready to be
 * copied into pool pages. Replacing an adapter means loading a new revision, sending new requests to it and unloading
 * the old one: sequences that began with the old revision end with it. */
#ifndef SLORA_ADAPTER_H
#define SLORA_ADAPTER_H

#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slora_adapter slora_adapter;

/* How to read an adapter. */
typedef struct slora_adapter_options {
  uint32_t struct_size;
  uint32_t synthetic_lora_rank; /* > 0: random weights of this lora_rank instead of files; path must be null */
  const char* path;             /* PEFT folder: adapter_config.json and adapter_model.safetensors */
  uint64_t path_bytes;
  uint64_t synthetic_seed;
  uint32_t synthetic_modules;   /* bit i: module i of the model's module table (q, k, v, o, gate, up, down); 0: all */
  uint8_t pinned;               /* 1: once resident it is never evicted to make room */
  uint8_t reserved0[3];
  slora_progress* progress;     /* may be null */
  /* Not null: the new adapter has the weights of this one, of the same engine, and shares its host image (and what it
   * changes of embedding and head): it has an id, pages, tables and copies of its own, and adds nothing to
   * host_adapter_bytes. path must be null and synthetic_lora_rank 0. Either may be unloaded first. */
  const slora_adapter* share_image_of;
} slora_adapter_options;
#define SLORA_ADAPTER_OPTIONS_INIT {(uint32_t)sizeof(slora_adapter_options), 0, NULL, 0, 0, 0, 0, {0}, NULL, NULL}

/* Where an adapter is. */
enum slora_residency {
  SLORA_RESIDENCY_HOST = 0,    /* packed image in host memory only */
  SLORA_RESIDENCY_LOADING = 1, /* pages taken, copy under way */
  SLORA_RESIDENCY_DEVICE = 2   /* resident: in pool pages, usable without a copy */
};

/* What a loaded adapter is and where it is now. */
typedef struct slora_adapter_info {
  uint32_t struct_size;
  uint32_t max_lora_rank;    /* largest lora_rank of its modules */
  uint64_t adapter_id;       /* identity of this revision; never reused within an engine; never 0 */
  uint32_t num_modules;      /* (layer, module) pairs it changes */
  uint32_t num_pages;        /* pool pages it needs when resident */
  uint64_t image_bytes;      /* host image, and what a load copies */
  uint64_t wasted_bytes;     /* of num_pages * page_bytes: what packing leaves unused */
  uint32_t num_sequences;    /* sequences that hold it now */
  int32_t residency;         /* enum slora_residency */
  uint32_t modules;          /* bit i: module i of the model's module table is changed in some layer */
  uint8_t pinned;
  uint8_t reserved0[3];
} slora_adapter_info;
#define SLORA_ADAPTER_INFO_INIT {(uint32_t)sizeof(slora_adapter_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}}

/* Reads an adapter, checks it against the model and packs its host image. It becomes resident with the first plan that
 * runs or prefetches it. What is not implemented is refused by name; a file whose tensors match no module of the model
 * is refused too.
 *
 * @thread any @blocks
 * @return the adapter, to be given to slora_adapter_unload; null with SLORA_ERROR_IO, SLORA_ERROR_FORMAT,
 *   SLORA_ERROR_UNSUPPORTED (also: more pages than the pool has, more bytes than the host adapter budget),
 *   SLORA_ERROR_OUT_OF_MEMORY (more than is left of the budget: unloading others may help), SLORA_ERROR_CANCELLED,
 *   SLORA_ERROR_INVALID_ARGUMENT or SLORA_ERROR_STRUCT_SIZE. */
SLORA_API slora_adapter* slora_adapter_load(slora_engine* engine, const slora_adapter_options* options,
                                            slora_error* error);

/* Fills `out_info`.
 * @thread any
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT, SLORA_ERROR_STRUCT_SIZE. */
SLORA_API int32_t slora_adapter_get_info(const slora_adapter* adapter, slora_adapter_info* out_info,
                                         slora_error* error);

/* Pins or unpins: a pinned adapter stays resident once it is. Takes effect with the next plan.
 * @thread any
 * @return SLORA_OK; SLORA_ERROR_INVALID_ARGUMENT. */
SLORA_API int32_t slora_adapter_set_pinned(slora_adapter* adapter, uint8_t pinned, slora_error* error);

/* Gives the handle back. New sequences can no longer name the adapter; sequences that hold it run on, and its pages
 * and image go with the last of them. Accepts null.
 * @thread any */
SLORA_API void slora_adapter_unload(slora_adapter* adapter);

#ifdef __cplusplus
}
#endif

#endif /* SLORA_ADAPTER_H */
