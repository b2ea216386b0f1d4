// How fast a model's weights come from the page cache to a GPU, beside the rate at which pinned
// memory is copied there in the same run. Without a model, one of Llama-7B's layers is written to a
// temporary folder first.
//
// usage: bench_cuda_model_load [--model FOLDER] [--dtype bf16|f16|f32] [--layers N] [--rounds N]
//                              [--tp N] [--backend cuda|host] [--json FILE]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "slora/engine/ceilings.hpp"
#include "slora/engine/model.hpp"

namespace {

using namespace slora;

struct Arguments {
  std::string model;
  core::DType dtype = core::DType::kBF16;
  int layers = 12;  // 5 GB
  int rounds = 5;
  int tp_size = 1;
  engine::BackendKind backend = engine::BackendKind::kCuda;
  std::string json;
};

int positive(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 1 || value > 1000)
    throw std::invalid_argument(option + " is '" + text + "', the limit is 1..1000");
  return static_cast<int>(value);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  if (argc % 2 == 0) throw std::invalid_argument(std::string(argv[argc - 1]) + " has no value");
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (option == "--model") {
      arguments.model = value;
    } else if (option == "--dtype" && (value == "bf16" || value == "f16" || value == "f32")) {
      arguments.dtype = value == "bf16"  ? core::DType::kBF16
                        : value == "f16" ? core::DType::kF16
                                         : core::DType::kF32;
    } else if (option == "--layers") {
      arguments.layers = positive(option, value);
    } else if (option == "--rounds") {
      arguments.rounds = positive(option, value);
    } else if (option == "--tp") {
      arguments.tp_size = positive(option, value);
    } else if (option == "--backend" && (value == "cuda" || value == "host")) {
      arguments.backend = value == "cuda" ? engine::BackendKind::kCuda : engine::BackendKind::kHost;
    } else if (option == "--json") {
      arguments.json = value;
    } else {
      throw std::invalid_argument(option + " " + value + " is no option of this program");
    }
  }
  return arguments;
}

// A checkpoint of Llama-7B's matrices and fewer layers, bf16, gone with the object.
class TemporaryModel {
 public:
  explicit TemporaryModel(int layers) {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "slora_model_load_XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make the folder " + pattern);
    folder_ = pattern;
    add("model.embed_tokens.weight", {kVocab, kHidden});
    for (int layer = 0; layer < layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
        add(prefix + "self_attn." + name + ".weight", {kHidden, kHidden});
      for (const char* name : {"gate_proj", "up_proj"})
        add(prefix + "mlp." + name + ".weight", {kIntermediate, kHidden});
      add(prefix + "mlp.down_proj.weight", {kHidden, kIntermediate});
      add(prefix + "input_layernorm.weight", {kHidden});
      add(prefix + "post_attention_layernorm.weight", {kHidden});
    }
    add("model.norm.weight", {kHidden});
    add("lm_head.weight", {kVocab, kHidden});
    write_config(layers);
    write_weights();
  }
  ~TemporaryModel() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TemporaryModel(const TemporaryModel&) = delete;
  TemporaryModel& operator=(const TemporaryModel&) = delete;

  std::string folder() const { return folder_.string(); }

 private:
  static constexpr uint64_t kVocab = 32000, kHidden = 4096, kIntermediate = 11008;

  void add(const std::string& name, const std::vector<uint64_t>& shape) {
    uint64_t bytes = 2;
    std::string sizes;
    for (const uint64_t size : shape) {
      bytes *= size;
      if (!sizes.empty()) sizes += ',';
      sizes += std::to_string(size);
    }
    header_ += header_.empty() ? '{' : ',';
    header_.append("\"").append(name).append("\":{\"dtype\":\"BF16\",\"shape\":[").append(sizes);
    header_.append("],\"data_offsets\":[").append(std::to_string(bytes_)).append(",");
    header_.append(std::to_string(bytes_ + bytes)).append("]}");
    bytes_ += bytes;
  }

  void write_config(int layers) const {
    std::ofstream(folder_ / "config.json")
        << "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\","
           "\"hidden_act\":\"silu\",\"hidden_size\":4096,\"intermediate_size\":11008,"
           "\"num_attention_heads\":32,\"num_key_value_heads\":32,\"num_hidden_layers\":"
        << layers
        << ",\"vocab_size\":32000,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-5,"
           "\"rope_theta\":10000.0,\"tie_word_embeddings\":false}";
  }

  void write_weights() {
    std::string header = header_ + "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::ofstream file(folder_ / "model.safetensors", std::ios::binary);
    const uint64_t length = header.size();
    file.write(reinterpret_cast<const char*>(&length), 8);
    file << header;
    // Small numbers of either sign; one piece again and again, since only its bytes travel.
    std::vector<uint16_t> piece(4 << 20);
    std::mt19937 random(7);
    for (uint16_t& value : piece)
      value = static_cast<uint16_t>((random() & 0x807f) | 0x3c00 | (random() & 0x80));
    for (uint64_t done = 0; done < bytes_;) {
      const uint64_t count = std::min<uint64_t>(piece.size() * 2, bytes_ - done);
      file.write(reinterpret_cast<const char*>(piece.data()), static_cast<std::streamsize>(count));
      done += count;
    }
    if (!file.flush()) throw std::runtime_error("cannot write " + folder_.string());
  }

  std::filesystem::path folder_;
  std::string header_;
  uint64_t bytes_ = 0;
};

class LastTotal final : public model::LoadProgress {
 public:
  bool advance(uint64_t, uint64_t total) override {
    bytes = total;
    return true;
  }
  uint64_t bytes = 0;
};

// Seconds of each round; the first, which fills the page cache and starts the device, is not one.
std::vector<double> load(const Arguments& arguments, const std::string& folder,
                         uint64_t& out_bytes) {
  engine::ModelOptions options;
  options.path = folder;
  options.backend = arguments.backend;
  options.compute_dtype = arguments.dtype;
  options.tp_size = arguments.tp_size;
  std::vector<double> seconds;
  for (int round = 0; round <= arguments.rounds; ++round) {
    LastTotal total;
    const auto begin = std::chrono::steady_clock::now();
    const auto model = engine::load_model(options, &total);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (round > 0) seconds.push_back(took.count());
    out_bytes = total.bytes;
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse(argc, argv);
    std::unique_ptr<TemporaryModel> made;
    if (arguments.model.empty()) made = std::make_unique<TemporaryModel>(arguments.layers);
    const std::string folder = made ? made->folder() : arguments.model;
    engine::CeilingQuery query;
    query.backend = arguments.backend;
    query.upload_bytes = uint64_t{256} << 20;
    const double upload = engine::measure_ceilings(query).upload_bytes_per_second;
    uint64_t bytes = 0;
    const std::vector<double> seconds = load(arguments, folder, bytes);
    const double median = seconds[seconds.size() / 2];
    const double rate = static_cast<double>(bytes) / median;
    std::printf("%.2f GB in %.3f s (%.3f..%.3f): %.2f GB/s, %.3f of the pinned copy's %.2f GB/s\n",
                static_cast<double>(bytes) / 1e9, median, seconds.front(), seconds.back(),
                rate / 1e9, rate / upload, upload / 1e9);
    if (arguments.json.empty()) return 0;
    std::ofstream file(arguments.json);
    file << "{\"bytes\": " << bytes << ", \"tp_size\": " << arguments.tp_size
         << ", \"seconds\": " << median << ", \"gb_s\": " << rate / 1e9
         << ", \"upload_gb_s\": " << upload / 1e9 << "}\n";
    if (!file.flush()) throw std::runtime_error("cannot write " + arguments.json);
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_cuda_model_load: %s\n", failure.what());
    return 1;
  }
}
