/* Every INIT macro initialises its struct in C11 and in C++20, sets its size and leaves the rest
 * neutral. */
#include <slora/slora.h>
#include <stdio.h>

static int failures = 0;

static void expect(int holds, const char* what) {
  if (!holds) {
    printf("not as expected: %s\n", what);
    ++failures;
  }
}

static void check_sizes(void) {
#define SLORA_INIT(type, macro)                                       \
  {                                                                   \
    type value = macro;                                               \
    expect(value.struct_size == sizeof(type), #macro ".struct_size"); \
  }
#include "init_table.inc"
#undef SLORA_INIT
}

static void check_neutral_values(void) {
  const slora_sampling_options sampling = SLORA_SAMPLING_OPTIONS_INIT;
  const slora_sequence_options sequence = SLORA_SEQUENCE_OPTIONS_INIT;
  const slora_model_options model = SLORA_MODEL_OPTIONS_INIT;
  expect(sampling.temperature == 0.0f && sampling.top_k == 0 && sampling.min_p == 0.0f, "greedy");
  expect(
      sampling.top_p == 1.0f && sampling.typical_p == 1.0f && sampling.repetition_penalty == 1.0f,
      "filters off");
  expect(sequence.sampling == NULL && sequence.num_adapters == 0, "neutral sequence");
  expect(model.compute_dtype == SLORA_DTYPE_BF16 && model.backend == SLORA_BACKEND_AUTO,
         "model defaults");
  expect(model.progress == NULL && model.path == NULL, "null pointers");
}

int main(void) {
  check_sizes();
  check_neutral_values();
  return failures == 0 ? 0 : 1;
}
