// Collectives a step, counted: those of the base are two a layer and two besides, those of LoRA
// none where it is aligned with the base, and where it is shared out in full the formulas of
// docs/architecture.md.
#include "rank_group.hpp"

namespace slora::engine::test {
namespace {

using model::LoraSharding;

constexpr int64_t kHidden = 256, kLayers = 8, kVocab = 4096;  // the demo model
constexpr uint32_t kTokens = 5;

class Traffic : public testing::TestWithParam<int32_t> {
 protected:
  // Of one prefill of kTokens tokens with an adapter of `lora_rank` on `modules`; 0: the base.
  comm::GroupTraffic measure(LoraSharding sharding, uint32_t lora_rank, uint32_t modules) {
    RankGroup ranks(host_model("demo-model/base", GetParam(), sharding), small_engine());
    std::vector<uint64_t> adapters;
    std::shared_ptr<adapter::Adapter> adapter;
    if (lora_rank > 0) {
      AdapterOptions options;
      options.synthetic_lora_rank = lora_rank;
      options.synthetic_modules = modules;
      adapter = ranks.engine->load_adapter(options, nullptr);
      adapters.push_back(adapter->id);
    }
    ranks.create(1, {1, 2, 3, 4, 5}, adapters);
    ranks.group->reset();
    ranks.step({{1, kTokens, 0, true, false}});
    return ranks.group->traffic();
  }
};

TEST_P(Traffic, OfTheBaseIsTwoSumsALayer) {
  const int64_t n = GetParam();
  for (const uint32_t lora_rank : {0u, 8u}) {
    SCOPED_TRACE(lora_rank);
    const comm::GroupTraffic traffic = measure(LoraSharding::kAligned, lora_rank, 0);
    // o and down of each layer, and the embedding; the logits; the sampled token.
    EXPECT_EQ(traffic.all_reduce.calls, uint64_t(2 * kLayers + 1));
    EXPECT_EQ(traffic.all_reduce.elements, uint64_t((2 * kLayers + 1) * kTokens * kHidden));
    EXPECT_EQ(traffic.all_gather.calls, 1u);
    EXPECT_EQ(traffic.all_gather.bytes, uint64_t(kVocab / n * 4));
    EXPECT_EQ(traffic.broadcast.calls, 1u);
    EXPECT_EQ(traffic.broadcast.bytes, 4u);
  }
}

// Bits of q, k, v and of o in the module table.
constexpr uint32_t kQkv = 7, kO = 8, kGateUp = 48, kDown = 64;

TEST_P(Traffic, OfFullLoraIsThatOfTheFormulas) {
  const int64_t n = GetParam();
  const comm::GroupTraffic base = measure(LoraSharding::kFull, 0, 0);
  for (const uint32_t lora_rank : {8u, 5u}) {
    SCOPED_TRACE(lora_rank);
    const int64_t share = (lora_rank + n - 1) / n;  // of ranks that do not divide, the largest
    // 3 (N-1) B r / N elements sent a rank: one gather for q, k, v together.
    const comm::GroupTraffic qkv = measure(LoraSharding::kFull, lora_rank, kQkv);
    EXPECT_EQ(qkv.all_reduce.calls, base.all_reduce.calls);
    EXPECT_EQ(qkv.all_gather.calls - base.all_gather.calls, uint64_t(kLayers));
    EXPECT_EQ(qkv.all_gather.sent_bytes - base.all_gather.sent_bytes,
              uint64_t(kLayers * 4 * 3 * (n - 1) * kTokens * share));
    const comm::GroupTraffic gate_up = measure(LoraSharding::kFull, lora_rank, kGateUp);
    EXPECT_EQ(gate_up.all_gather.sent_bytes - base.all_gather.sent_bytes,
              uint64_t(kLayers * 4 * 2 * (n - 1) * kTokens * share));
    // 2 (N-1) B r / N: the sum of the intermediate.
    for (const uint32_t modules : {kO, kDown}) {
      const comm::GroupTraffic summed = measure(LoraSharding::kFull, lora_rank, modules);
      EXPECT_EQ(summed.all_gather.calls, base.all_gather.calls);
      EXPECT_EQ(summed.all_reduce.calls - base.all_reduce.calls, uint64_t(kLayers));
      EXPECT_EQ(summed.all_reduce.elements - base.all_reduce.elements,
                uint64_t(kLayers * kTokens * lora_rank));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Traffic, testing::Values(2, 4));

}  // namespace
}  // namespace slora::engine::test
