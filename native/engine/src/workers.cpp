// The meeting of ranks that are processes, and the life of those after the first.
//
// Rank 0 sends its model options over the link; each rank loads its part, says how that went with a
// fingerprint of what it read, and only then are the devices joined into a group. From there on an
// engine is opened, led and closed as among threads.
#include "workers.hpp"

#include <algorithm>
#include <string_view>

#include "rank_answer.hpp"
#include "slora/comm/nccl_group.hpp"
#include "slora/comm/process_group.hpp"
#include "slora/core/log.hpp"
#include "slora/engine/ranks.hpp"
#include "slora/engine/worker.hpp"
#include "slora/model/mapped_file.hpp"

namespace slora::engine {
namespace {

using core::fail;
using core::Status;

// FNV-1a.
class Fingerprint {
 public:
  void add(std::string_view bytes) {
    for (const char byte : bytes) value_ = (value_ ^ static_cast<uint8_t>(byte)) * 0x100000001b3u;
    value_ = (value_ ^ bytes.size()) * 0x100000001b3u;
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

// Of the configuration, and of each tensor its name, dtype, shape and first and last bytes: enough
// to tell another model, or another training of the same one, without reading it twice.
uint64_t fingerprint_of(const ModelOptions& options) {
  Fingerprint fingerprint;
  constexpr uint64_t kMostConfigBytes = uint64_t{64} << 20;
  const auto config =
      model::MappedFile::open(model::join_path(options.path, "config.json"), kMostConfigBytes);
  fingerprint.add(config.text());
  if (options.is_synthetic) return fingerprint.value();
  const auto tensors = model::TensorSet::open_model(options.path);
  for (const std::string& name : tensors.names()) {
    const model::TensorRef tensor = tensors.get(name);
    fingerprint.add(name);
    fingerprint.add(core::dtype_name(tensor.dtype));
    for (const int64_t size : tensor.shape) fingerprint.add(std::to_string(size));
    const auto sample = static_cast<size_t>(std::min<uint64_t>(tensor.bytes, 64));
    const auto* data = reinterpret_cast<const char*>(tensor.data);
    fingerprint.add({data, sample});
    fingerprint.add({data + tensor.bytes - sample, sample});
  }
  return fingerprint.value();
}

// This rank's part, once every rank has loaded its own of the same model.
std::shared_ptr<Model> load_in_agreement(comm::HostLink& link, const ModelOptions& options,
                                         model::LoadProgress* progress) {
  const model::ShardSpec shard{link.tp_rank(), link.size(), options.lora_sharding};
  std::shared_ptr<Model> rank;
  RankAnswer own;
  own.note([&] {
    rank = load_rank(options, shard, progress);
    own.value = fingerprint_of(options);
  });
  const std::vector<RankAnswer> answers = exchange_answers(link, own);
  if (const RankAnswer* failed = first_failure(answers)) failed->raise();
  for (size_t i = 1; i < answers.size(); ++i) {
    if (answers[i].value == answers[0].value) continue;
    fail(Status::kInvalidArgument, "rank ", i, " of ", answers.size(),
         " has another model than rank 0 at the path that rank 0 names, ", options.path);
  }
  return rank;
}

std::shared_ptr<comm::Group> join_devices(std::unique_ptr<comm::HostLink> link,
                                          const forward::Backend& backend) {
  if (backend.is_cuda) return comm::make_nccl_group(std::move(link), backend.comm, backend.device);
  return comm::make_shared_memory_group(std::move(link));
}

comm::JoinOptions join_options(const std::string& address, int32_t tp_rank, int32_t size,
                               const std::string& secret, int32_t join_limit_ms,
                               int32_t time_limit_ms) {
  comm::JoinOptions join;
  join.address = address;
  join.tp_rank = tp_rank;
  join.size = size;
  join.secret = secret;
  join.join_limit_ms = join_limit_ms;
  join.group.time_limit_ms = time_limit_ms;
  return join;
}

// Serves one engine; a failure that all ranks share leaves the group for the next.
void serve_engine(const std::shared_ptr<Model>& rank, const EngineOptions& options,
                  const std::shared_ptr<comm::Group>& group) {
  std::unique_ptr<Engine> engine;
  try {
    engine = open_rank(rank, options, group);
  } catch (const core::Error& failure) {
    group->check();
    core::log(core::LogLevel::kWarning, "an engine was not opened: ", failure.what());
    return;
  }
  follow(*engine, *group);
}

}  // namespace

Workers::~Workers() {
  try {
    group->check();
    Command leave;
    leave.kind = CommandKind::kLeave;
    tell(*group, leave);
  } catch (const std::exception& failure) {
    core::log(core::LogLevel::kWarning, "the workers could not be let go: ", failure.what());
  }
}

void tell(comm::Group& group, const Command& command) {
  std::vector<uint8_t> message = encode(command);
  group.broadcast_message(message, 0);
}

std::shared_ptr<Model> load_with_workers(const ModelOptions& options,
                                         model::LoadProgress* progress) {
  model::check_shardable(model::read_config(options.path), options.tp_size);
  if (options.tp_size < 2) {
    fail(Status::kInvalidArgument, "an address to await ranks at is given, but tp_size is ",
         options.tp_size);
  }
  // Settles auto, so that all ranks take the same.
  Command load;
  load.kind = CommandKind::kLoadModel;
  load.model = options;
  load.model.backend =
      open_backend(options.backend, options.device_idx, options.num_threads).is_cuda
          ? BackendKind::kCuda
          : BackendKind::kHost;
  std::unique_ptr<comm::HostLink> link =
      comm::join_processes(join_options(options.listen, 0, options.tp_size, options.secret,
                                        options.join_limit_ms, options.time_limit_ms));
  std::vector<uint8_t> message = encode(load);
  link->broadcast_message(message, 0);
  std::shared_ptr<Model> rank = load_in_agreement(*link, load.model, progress);
  rank->workers = std::make_shared<Workers>(join_devices(std::move(link), rank->backend));
  return rank;
}

void run_worker(const WorkerOptions& options) {
  std::unique_ptr<comm::HostLink> link =
      comm::join_processes(join_options(options.join, options.tp_rank, 0, options.secret,
                                        options.join_limit_ms, options.time_limit_ms));
  std::vector<uint8_t> message;
  link->await_message(message, 0);
  Command command = decode(message);
  if (command.kind != CommandKind::kLoadModel) {
    fail(Status::kInternal, "rank 0 began with '", command_name(command.kind),
         "' and not with a model");
  }
  ModelOptions model = command.model;
  model.device_idx = options.device_idx;
  model.num_threads = options.num_threads;
  if (!options.model_path.empty()) model.path = options.model_path;
  const std::shared_ptr<Model> rank = load_in_agreement(*link, model, nullptr);
  const std::shared_ptr<comm::Group> group = join_devices(std::move(link), rank->backend);
  core::log(core::LogLevel::kInfo, "rank ", group->tp_rank(), " of ", group->size(), " is ready");
  for (;;) {
    group->await_message(message, 0);
    command = decode(message);
    if (command.kind == CommandKind::kLeave) return;
    if (command.kind != CommandKind::kOpenEngine) {
      fail(Status::kInternal, "rank 0 could ", command_name(command.kind), ", but rank ",
           group->tp_rank(), " of ", group->size(), " has no engine");
    }
    serve_engine(rank, command.engine, group);
  }
}

}  // namespace slora::engine
