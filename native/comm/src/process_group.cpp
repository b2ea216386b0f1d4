// The board of processes is POSIX shared memory: rank 0 makes it, tells its name, and takes the
// name back as soon as every rank has opened it, so that nothing is left behind.
#include "slora/comm/process_group.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "group_options.hpp"
#include "rendezvous.hpp"
#include "shared_memory_group.hpp"
#include "tcp_link.hpp"
#include "wire.hpp"

namespace slora::comm {
namespace {

using core::fail;
using core::Status;

// A named piece of shared memory; the name goes with the object at the latest.
class SharedMemory {
 public:
  static SharedMemory create(uint64_t bytes) {
    std::random_device random;
    SharedMemory memory;
    memory.name_ = core::str_cat("/slora-", getpid(), "-", random(), "-", random());
    memory.fd_ = shm_open(memory.name_.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (memory.fd_ < 0)
      fail(Status::kIo, "cannot make shared memory ", memory.name_, ": ", std::strerror(errno));
    memory.is_owner_ = true;
    // Taken now: without room a later access would kill the process.
    const int error = posix_fallocate(memory.fd_, 0, static_cast<off_t>(bytes));
    if (error != 0) {
      fail(Status::kOutOfMemory, "cannot take ", bytes,
           " bytes of shared memory: ", std::strerror(error));
    }
    return memory;
  }

  static SharedMemory open(const std::string& name, int32_t tp_rank) {
    SharedMemory memory;
    memory.name_ = name;
    memory.fd_ = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
    if (memory.fd_ < 0) {
      fail(Status::kIo, "rank ", tp_rank, " cannot open shared memory ", name,
           " of rank 0: ", std::strerror(errno), " (ranks of the host backend run on one host)");
    }
    return memory;
  }

  SharedMemory(SharedMemory&& other) noexcept
      : name_(std::move(other.name_)),
        fd_(std::exchange(other.fd_, -1)),
        is_owner_(std::exchange(other.is_owner_, false)) {}
  ~SharedMemory() {
    forget_name();
    if (fd_ >= 0) close(fd_);
  }

  const std::string& name() const { return name_; }
  void forget_name() {
    if (is_owner_) shm_unlink(name_.c_str());
    is_owner_ = false;
  }
  // Stays mapped for as long as anyone holds it.
  std::shared_ptr<void> map(uint64_t bytes) const {
    struct stat info {};
    if (fstat(fd_, &info) != 0 || static_cast<uint64_t>(info.st_size) < bytes)
      fail(Status::kIo, "shared memory ", name_, " has ", info.st_size, " bytes, not ", bytes);
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (memory == MAP_FAILED)
      fail(Status::kOutOfMemory, "cannot map ", bytes, " bytes of shared memory");
    return {memory, [bytes](void* mapped) { munmap(mapped, bytes); }};
  }

 private:
  SharedMemory() = default;

  std::string name_;
  int fd_ = -1;
  bool is_owner_ = false;
};

// Rank 0's name and piece size on every rank, and the memory mapped.
std::shared_ptr<void> share_board(HostLink& link, RankBoard& board) {
  std::vector<uint8_t> message;
  if (link.tp_rank() == 0) {
    SharedMemory memory = SharedMemory::create(RankBoard::bytes_for(board.size, board.piece_bytes));
    WireWriter place;
    place.number(board.piece_bytes);
    place.text(memory.name());
    message = place.bytes();
    link.broadcast_message(message, 0);
    auto mapped = memory.map(RankBoard::bytes_for(board.size, board.piece_bytes));
    link.barrier();
    return mapped;
  }
  link.broadcast_message(message, 0);
  WireReader place(message);
  board.piece_bytes = place.number<uint64_t>();
  auto mapped = SharedMemory::open(place.text(), link.tp_rank())
                    .map(RankBoard::bytes_for(board.size, board.piece_bytes));
  link.barrier();
  return mapped;
}

}  // namespace

std::unique_ptr<HostLink> join_processes(const JoinOptions& options) {
  Meeting meeting = rendezvous(options);
  return std::make_unique<TcpLink>(std::move(meeting.sockets), options.tp_rank, meeting.size,
                                   options.group.time_limit_ms);
}

std::unique_ptr<Group> make_shared_memory_group(std::unique_ptr<HostLink> link,
                                                uint64_t piece_bytes) {
  const GroupOptions limits = checked({link->time_limit_ms(), piece_bytes}, link->size());
  RankBoard board{nullptr, link->size(), limits.piece_bytes};
  std::shared_ptr<void> memory;
  try {
    memory = share_board(*link, board);
  } catch (const core::Error& failure) {
    link->abort(failure.what());
    throw;
  }
  board.memory = static_cast<uint8_t*>(memory.get());
  return std::make_unique<SharedMemoryGroup>(std::move(link), board, memory);
}

std::unique_ptr<Group> join_process_group(const JoinOptions& options) {
  return make_shared_memory_group(join_processes(options), options.group.piece_bytes);
}

}  // namespace slora::comm
