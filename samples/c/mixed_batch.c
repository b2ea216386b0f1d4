/* One base model, several LoRA adapters, one batch: the smallest complete program on SLoRA's C ABI.
 * It has no tokenizer, so prompts come and completions go as token ids.
 *
 *   mixed_batch MODEL MAX_TOKENS STOP_ID REQUEST...
 *   REQUEST: base:ID,ID,...  or  ADAPTER_FOLDER:ID,ID,...
 *
 * Prints a line a request, in their order: the request's name, then its greedy completion. Exit
 * status: 0 done, 1 the library refused something (its words are on standard error), 2 wrong
 * arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <time.h>

#include <slora/slora.h>

enum { kMaxRequests = 64, kMaxTokens = 512, kMaxWaits = 10000 };

typedef struct request {
  const char*
      name; /* "base" or the adapter's folder; its length excludes the ids behind the colon */
  size_t name_bytes;
  slora_adapter* adapter; /* null: the base model */
  int32_t prompt[kMaxTokens];
  uint32_t num_prompt;
  int32_t completion[kMaxTokens];
  uint32_t num_completion;
  int is_done;
} request;

typedef struct session {
  slora_model* model;
  slora_engine* engine;
  request requests[kMaxRequests];
  uint32_t num_requests;
  uint32_t max_tokens;
  int32_t stop_id;
} session;

static int fail(const char* what, const slora_error* error) {
  fprintf(stderr, "mixed_batch: %s: %s: %s\n", what, slora_status_name(error->status),
          error->message);
  return 1;
}

/* Reads "NAME:ID,ID,..." into `out`; 0 if it is not of that form. The last colon parts it: paths
 * may have others. */
static int parse_request(const char* text, request* out) {
  const char* colon = strrchr(text, ':');
  if (colon == NULL || colon == text) return 0;
  out->name = text;
  out->name_bytes = (size_t)(colon - text);
  for (const char* at = colon + 1; out->num_prompt < kMaxTokens;) {
    char* end = NULL;
    const long id = strtol(at, &end, 10);
    if (end == at || id < 0 || id > INT32_MAX) return 0;
    out->prompt[out->num_prompt++] = (int32_t)id;
    if (*end == '\0') return 1;
    if (*end != ',') return 0;
    at = end + 1;
  }
  return 0;
}

static int is_base(const request* r) {
  return r->name_bytes == 4 && memcmp(r->name, "base", 4) == 0;
}

static int load(session* s, const char* model_path) {
  slora_error error = SLORA_ERROR_INIT;
  slora_model_options model_options = SLORA_MODEL_OPTIONS_INIT;
  model_options.path = model_path;
  model_options.path_bytes = strlen(model_path);
  model_options.compute_dtype = SLORA_DTYPE_F32;
  s->model = slora_model_load(&model_options, &error);
  if (s->model == NULL) return fail("model", &error);

  slora_engine_options engine_options = SLORA_ENGINE_OPTIONS_INIT;
  engine_options.pool_bytes = 64u << 20;
  engine_options.max_sequences = kMaxRequests;
  engine_options.max_batch_tokens = kMaxRequests * kMaxTokens;
  s->engine = slora_engine_create(s->model, &engine_options, &error);
  if (s->engine == NULL) return fail("engine", &error);

  for (uint32_t i = 0; i < s->num_requests; i++) {
    request* r = &s->requests[i];
    if (is_base(r)) continue;
    slora_adapter_options adapter_options = SLORA_ADAPTER_OPTIONS_INIT;
    adapter_options.path = r->name;
    adapter_options.path_bytes = r->name_bytes;
    r->adapter = slora_adapter_load(s->engine, &adapter_options, &error);
    if (r->adapter == NULL) return fail("adapter", &error);
  }
  return 0;
}

/* Sequence i + 1 is request i: ids are the caller's choice, and 0 is not one. */
static int create_sequences(session* s) {
  for (uint32_t i = 0; i < s->num_requests; i++) {
    slora_error error = SLORA_ERROR_INIT;
    const request* r = &s->requests[i];
    slora_adapter_weight weight = {0, 1.0f, 0};
    if (r->adapter != NULL) {
      slora_adapter_info info = SLORA_ADAPTER_INFO_INIT;
      if (slora_adapter_get_info(r->adapter, &info, &error) < 0) return fail("adapter", &error);
      weight.adapter_id = info.adapter_id;
    }
    slora_sequence_options options = SLORA_SEQUENCE_OPTIONS_INIT;
    options.sequence_id = i + 1;
    options.prompt_tokens = r->prompt;
    options.num_prompt_tokens = r->num_prompt;
    options.adapters = &weight;
    options.num_adapters = r->adapter != NULL ? 1 : 0;
    if (slora_sequence_create(s->engine, &options, &error) != SLORA_OK)
      return fail("sequence", &error);
  }
  return 0;
}

/* One row a request that is not done: first its whole prompt, then the token that the last step
 * sampled. */
static uint32_t plan_rows(const session* s, slora_plan_row* rows) {
  uint32_t num_rows = 0;
  for (uint32_t i = 0; i < s->num_requests; i++) {
    const request* r = &s->requests[i];
    if (r->is_done) continue;
    slora_plan_row row = {i + 1, 1, 0, SLORA_ROW_SAMPLE, 0};
    if (r->num_completion == 0) {
      row.num_tokens = r->num_prompt;
    } else {
      row.first_token = r->num_prompt + r->num_completion - 1;
    }
    rows[num_rows++] = row;
  }
  return num_rows;
}

/* A positive status is no error: nothing changed, try later. Only an adapter on its way into the
 * pool ends by waiting here; nobody else would free pages. */
static int submit(session* s, const slora_plan* plan) {
  const struct timespec pause = {0, 1000000};
  slora_error error = SLORA_ERROR_INIT;
  for (int wait = 0; wait < kMaxWaits; wait++) {
    const int32_t status = slora_engine_submit(s->engine, plan, &error);
    if (status == SLORA_OK) return 0;
    if (status < 0) return fail("submit", &error);
    if (status != SLORA_DEFERRED_ADAPTER) {
      fprintf(stderr, "mixed_batch: the pool is too small for this batch (%s)\n",
              slora_status_name(status));
      return 1;
    }
    thrd_sleep(&pause, NULL);
  }
  fprintf(stderr, "mixed_batch: an adapter does not become resident\n");
  return 1;
}

static void take_token(session* s, const slora_row_result* row) {
  request* r = &s->requests[row->sequence_id - 1];
  r->completion[r->num_completion++] = row->token_id;
  r->is_done = row->token_id == s->stop_id || r->num_completion == s->max_tokens;
}

static int run(session* s) {
  slora_plan_row rows[kMaxRequests];
  slora_row_result results[kMaxRequests];
  for (uint32_t num_rows = plan_rows(s, rows); num_rows > 0; num_rows = plan_rows(s, rows)) {
    slora_error error = SLORA_ERROR_INIT;
    slora_plan plan = SLORA_PLAN_INIT;
    plan.rows = rows;
    plan.num_rows = num_rows;
    if (submit(s, &plan) != 0) return 1;

    slora_step_result result = SLORA_STEP_RESULT_INIT;
    result.rows = results;
    result.rows_capacity = kMaxRequests;
    if (slora_engine_collect(s->engine, &result, &error) != SLORA_OK)
      return fail("collect", &error);
    for (uint32_t i = 0; i < result.num_rows; i++) take_token(s, &results[i]);
  }
  return 0;
}

static void print(const session* s) {
  for (uint32_t i = 0; i < s->num_requests; i++) {
    const request* r = &s->requests[i];
    printf("%.*s:", (int)r->name_bytes, r->name);
    for (uint32_t t = 0; t < r->num_completion; t++) printf(" %d", (int)r->completion[t]);
    printf("\n");
  }
}

/* Null is accepted everywhere, and the order is free: children keep their parents alive. */
static void destroy(session* s) {
  for (uint32_t i = 0; i < s->num_requests; i++) slora_adapter_unload(s->requests[i].adapter);
  slora_engine_destroy(s->engine);
  slora_model_destroy(s->model);
}

static int usage(void) {
  fprintf(stderr,
          "usage: mixed_batch MODEL MAX_TOKENS STOP_ID REQUEST...\n"
          "  REQUEST is base:ID,ID,... or ADAPTER_FOLDER:ID,ID,... (prompts of 1..%d token ids, at "
          "most %d requests)\n",
          kMaxTokens, kMaxRequests);
  return 2;
}

int main(int argc, char** argv) {
  static session s;
  if (argc < 5 || argc - 4 > kMaxRequests) return usage();
  const long max_tokens = strtol(argv[2], NULL, 10);
  if (max_tokens < 1 || max_tokens > kMaxTokens) return usage();
  s.max_tokens = (uint32_t)max_tokens;
  s.stop_id = (int32_t)strtol(argv[3], NULL, 10);
  for (int i = 4; i < argc; i++) {
    if (!parse_request(argv[i], &s.requests[s.num_requests++])) return usage();
  }

  const uint32_t version = slora_abi_version();
  if (version >> 16 != SLORA_ABI_VERSION_MAJOR || version < SLORA_ABI_VERSION) {
    fprintf(stderr, "mixed_batch: the library implements ABI %u.%u, this program needs %d.%d\n",
            version >> 16, version & 0xFFFFu, SLORA_ABI_VERSION_MAJOR, SLORA_ABI_VERSION_MINOR);
    return 1;
  }

  int status = load(&s, argv[1]);
  if (status == 0) status = create_sequences(&s);
  if (status == 0) status = run(&s);
  if (status == 0) print(&s);
  destroy(&s);
  return status;
}
