// SPDX-License-Identifier: Apache-2.0
#include "io/torch_pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"

namespace suture::io {
namespace {

// A checkpoint has some 15 values for each tensor.
constexpr size_t kMostValues = 4'000'000;
constexpr size_t kMostTensors = 1'000'000;
constexpr size_t kMostDimensions = 16;

enum class Role { kDictionary, kSize, kTensor, kTensorOfDtype, kParameter, kStorage, kDtype };

struct Allowed {
  std::string_view name;
  Role role;
  std::string_view dtype = {};
};

constexpr std::array kAllowed = {
    Allowed{"collections.OrderedDict", Role::kDictionary},
    Allowed{"torch.Size", Role::kSize},
    Allowed{"torch._utils._rebuild_tensor_v2", Role::kTensor},
    Allowed{"torch._utils._rebuild_tensor_v3", Role::kTensorOfDtype},
    Allowed{"torch._utils._rebuild_parameter", Role::kParameter},
    Allowed{"torch._utils._rebuild_parameter_with_state", Role::kParameter},
    Allowed{"torch.FloatStorage", Role::kStorage, "F32"},
    Allowed{"torch.HalfStorage", Role::kStorage, "F16"},
    Allowed{"torch.BFloat16Storage", Role::kStorage, "BF16"},
    Allowed{"torch.DoubleStorage", Role::kStorage, "F64"},
    Allowed{"torch.LongStorage", Role::kStorage, "I64"},
    Allowed{"torch.IntStorage", Role::kStorage, "I32"},
    Allowed{"torch.ShortStorage", Role::kStorage, "I16"},
    Allowed{"torch.CharStorage", Role::kStorage, "I8"},
    Allowed{"torch.ByteStorage", Role::kStorage, "U8"},
    Allowed{"torch.BoolStorage", Role::kStorage, "BOOL"},
    Allowed{"torch.ComplexFloatStorage", Role::kStorage, "C64"},
    Allowed{"torch.storage.UntypedStorage", Role::kStorage, "U8"},
    Allowed{"torch.UntypedStorage", Role::kStorage, "U8"},
    Allowed{"torch.float32", Role::kDtype, "F32"},
    Allowed{"torch.float16", Role::kDtype, "F16"},
    Allowed{"torch.bfloat16", Role::kDtype, "BF16"},
    Allowed{"torch.float64", Role::kDtype, "F64"},
    Allowed{"torch.int64", Role::kDtype, "I64"},
    Allowed{"torch.int32", Role::kDtype, "I32"},
    Allowed{"torch.int16", Role::kDtype, "I16"},
    Allowed{"torch.int8", Role::kDtype, "I8"},
    Allowed{"torch.uint8", Role::kDtype, "U8"},
    Allowed{"torch.uint16", Role::kDtype, "U16"},
    Allowed{"torch.uint32", Role::kDtype, "U32"},
    Allowed{"torch.uint64", Role::kDtype, "U64"},
    Allowed{"torch.bool", Role::kDtype, "BOOL"},
    Allowed{"torch.complex64", Role::kDtype, "C64"},
    Allowed{"torch.float8_e4m3fn", Role::kDtype, "F8_E4M3"},
    Allowed{"torch.float8_e5m2", Role::kDtype, "F8_E5M2"},
    Allowed{"torch.float8_e4m3fnuz", Role::kDtype, "F8_E4M3FNUZ"},
    Allowed{"torch.float8_e5m2fnuz", Role::kDtype, "F8_E5M2FNUZ"},
    Allowed{"torch.float8_e8m0fnu", Role::kDtype, "F8_E8M0"},
};

using Id = uint32_t;

enum class Kind : uint8_t {
  kOther,
  kNone,
  kFlag,
  kInteger,
  kText,
  kTuple,
  kList,
  kDictionary,
  kName,
  kStorage,
  kTensor
};

constexpr std::array kKindNames = {"a number or bytes", "None",   "a flag",       "an integer", "a text",
                                   "a tuple",           "a list", "a dictionary", "a name",     "a storage",
                                   "a tensor"};

struct Value {
  Kind kind = Kind::kOther;
  int64_t integer = 0;    // of kInteger, kFlag; index into kAllowed of kName; elements of kStorage
  std::string_view text;  // of kText; key of kStorage. Lies in the pickle.
  // Members of tuples and lists; key, value, key, value, ... of dictionaries; {type} of storages; {storage, offset,
  // sizes, strides} and perhaps {dtype} of tensors.
  std::vector<Id> items;
};

class Machine {
 public:
  Machine(std::span<const std::byte> code, const fs::path& path) : code_(code), path_(path) {}

  const Value& run() {
    while (true) {
      const auto op = number<uint8_t>();
      if (op == '.') return value(pop());
      const Run run = table()[op];
      if (run == nullptr) refused(fmt::format("uses opcode 0x{:02x} at offset {}", op, at_ - 1));
      run(*this);
    }
  }

  const Value& value(Id id) const { return values_[id]; }
  const Value& expect(Id id, Kind kind, const char* what) const {
    const Value& found = values_[id];
    if (found.kind != kind)
      broken(fmt::format("{} is {}, expected {}", what, kKindNames[size_t(found.kind)], kKindNames[size_t(kind)]));
    return found;
  }
  const Allowed& named(Id id, Role role, const char* what) const {
    const Allowed& found = kAllowed[size_t(expect(id, Kind::kName, what).integer)];
    if (found.role != role) broken(fmt::format("{} is '{}'", what, found.name));
    return found;
  }

  [[noreturn]] void broken(const std::string& why) const {
    fail(Code::kFile, "cannot read {}: its pickle is broken at offset {}: {}", path_.string(), at_, why);
  }
  [[noreturn]] void refused(const std::string& what) const {
    fail(Code::kModel, "cannot read {}: the pickle {}, which is not allowed; convert it to safetensors", path_.string(),
         what);
  }

 private:
  template <class T>
  T number() {
    T result;
    std::memcpy(&result, take(sizeof result).data(), sizeof result);
    return result;
  }
  std::string_view take(uint64_t length) {
    if (length > code_.size() - at_)
      broken(fmt::format("truncated: {} bytes wanted, {} left", length, code_.size() - at_));
    const std::string_view taken(reinterpret_cast<const char*>(code_.data()) + at_, length);
    at_ += length;
    return taken;
  }
  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(code_.data()) + at_, code_.size() - at_);
    const size_t length = rest.find('\n');
    if (length == std::string_view::npos) broken("truncated: a line does not end");
    at_ += length + 1;
    return rest.substr(0, length);
  }

  void push(Id id) {
    if (stack_.size() >= kMostValues) broken(fmt::format("more than {} values on its stack", kMostValues));
    stack_.push_back(id);
  }
  void make(Value value) {
    if (values_.size() >= kMostValues) broken(fmt::format("more than {} values", kMostValues));
    count_members(value.items.size());
    values_.push_back(std::move(value));
    push(Id(values_.size() - 1));
  }
  // One list can be copied into many dictionaries, so members are counted apart from values.
  void count_members(size_t more) {
    members_ += more;
    if (members_ > 2 * kMostValues) broken(fmt::format("more than {} members of its containers", 2 * kMostValues));
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Id pop() {
    if (stack_.size() <= floor()) broken("it takes a value from an empty stack");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Id top() const {
    if (stack_.size() <= floor()) broken("it takes a value from an empty stack");
    return stack_.back();
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) broken("it goes back to a mark that is not there");
    std::vector<Id> items(stack_.begin() + long(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_count(size_t count) {
    std::vector<Id> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }

  void make_integer(int64_t value) { make({.kind = Kind::kInteger, .integer = value}); }
  void make_text(uint64_t length) { make({.kind = Kind::kText, .text = take(length)}); }
  void make_other(uint64_t length) {
    take(length);
    make({});
  }
  void make_long(std::string_view digits) {  // little-endian two's complement
    if (digits.size() > sizeof(int64_t)) return make({});
    int64_t value = digits.empty() || (digits.back() & 0x80) == 0 ? 0 : -1;
    for (size_t i = digits.size(); i-- > 0;) value = int64_t(uint64_t(value) << 8 | uint8_t(digits[i]));
    make_integer(value);
  }

  using Run = void (*)(Machine&);
  using Table = std::array<Run, 256>;

  static void add_literals(Table& run) {
    run['N'] = [](Machine& m) { m.make({.kind = Kind::kNone}); };
    run[0x88] = [](Machine& m) { m.make({.kind = Kind::kFlag, .integer = 1}); };
    run[0x89] = [](Machine& m) { m.make({.kind = Kind::kFlag}); };
    run['J'] = [](Machine& m) { m.make_integer(m.number<int32_t>()); };
    run['K'] = [](Machine& m) { m.make_integer(m.number<uint8_t>()); };
    run['M'] = [](Machine& m) { m.make_integer(m.number<uint16_t>()); };
    run[0x8a] = [](Machine& m) { m.make_long(m.take(m.number<uint8_t>())); };
    run['G'] = [](Machine& m) { m.make_other(sizeof(double)); };
    run[0x8c] = run['U'] = [](Machine& m) { m.make_text(m.number<uint8_t>()); };  // 'U', 'T': texts of Python 2
    run['X'] = run['T'] = [](Machine& m) { m.make_text(m.number<uint32_t>()); };
    run[0x8d] = [](Machine& m) { m.make_text(m.number<uint64_t>()); };
    run['C'] = [](Machine& m) { m.make_other(m.number<uint8_t>()); };
    run['B'] = [](Machine& m) { m.make_other(m.number<uint32_t>()); };
    run[0x8e] = [](Machine& m) { m.make_other(m.number<uint64_t>()); };
  }

  static void add_containers(Table& run) {
    run['('] = [](Machine& m) { m.mark(); };
    run['0'] = [](Machine& m) { m.pop(); };
    run['1'] = [](Machine& m) { m.pop_to_mark(); };
    run[')'] = [](Machine& m) { m.make({.kind = Kind::kTuple}); };
    run['t'] = [](Machine& m) { m.make({.kind = Kind::kTuple, .items = m.pop_to_mark()}); };
    run[0x85] = [](Machine& m) { m.make({.kind = Kind::kTuple, .items = m.pop_count(1)}); };
    run[0x86] = [](Machine& m) { m.make({.kind = Kind::kTuple, .items = m.pop_count(2)}); };
    run[0x87] = [](Machine& m) { m.make({.kind = Kind::kTuple, .items = m.pop_count(3)}); };
    run[']'] = [](Machine& m) { m.make({.kind = Kind::kList}); };
    run['}'] = [](Machine& m) { m.make({.kind = Kind::kDictionary}); };
    run['a'] = [](Machine& m) { m.extend(Kind::kList, m.pop_count(1)); };
    run['e'] = [](Machine& m) { m.extend(Kind::kList, m.pop_to_mark()); };
    run['s'] = [](Machine& m) { m.extend(Kind::kDictionary, m.pop_count(2)); };
    run['u'] = [](Machine& m) { m.extend(Kind::kDictionary, m.pop_to_mark()); };
  }

  static void add_memo(Table& run) {
    run['q'] = [](Machine& m) { m.remember(m.number<uint8_t>()); };
    run['r'] = [](Machine& m) { m.remember(m.number<uint32_t>()); };
    run[0x94] = [](Machine& m) { m.remember(uint32_t(m.memo_.size())); };
    run['h'] = [](Machine& m) { m.recall(m.number<uint8_t>()); };
    run['j'] = [](Machine& m) { m.recall(m.number<uint32_t>()); };
  }

  static void add_objects(Table& run) {
    run[0x80] = [](Machine& m) { m.protocol(m.number<uint8_t>()); };
    run[0x95] = [](Machine& m) { m.number<uint64_t>(); };  // frame: a hint for buffering
    run['c'] = [](Machine& m) { m.global_lines(); };
    run[0x93] = [](Machine& m) { m.global_texts(); };
    run['R'] = [](Machine& m) { m.call(); };
    run['Q'] = [](Machine& m) { m.storage(); };
    run['b'] = [](Machine& m) { m.attributes(); };
  }

  static const Table& table() {
    static const Table kTable = [] {
      Table run{};
      add_literals(run);
      add_containers(run);
      add_memo(run);
      add_objects(run);
      return run;
    }();
    return kTable;
  }

  void protocol(uint8_t version) const {
    if (version > 5) broken(fmt::format("protocol {} (0..5 are known)", version));
  }
  void global_lines() {
    const std::string_view module = line();
    name(module, line());
  }
  void global_texts() {
    const std::vector<Id> parts = pop_count(2);
    name(expect(parts[0], Kind::kText, "a module").text, expect(parts[1], Kind::kText, "a name").text);
  }
  // Those of a dictionary, such as a state dict's _metadata, are not needed.
  void attributes() {
    pop();
    expect(top(), Kind::kDictionary, "an object with attributes");
  }
  void mark() {
    if (marks_.size() >= kMostValues) broken(fmt::format("more than {} marks", kMostValues));
    marks_.push_back(stack_.size());
  }
  void extend(Kind kind, const std::vector<Id>& items) {
    expect(top(), kind, "what gets members");
    if (kind == Kind::kDictionary && items.size() % 2 != 0) broken("a key without a value");
    count_members(items.size());
    std::vector<Id>& members = values_[top()].items;
    members.insert(members.end(), items.begin(), items.end());
  }
  void remember(uint32_t key) {
    if (memo_.size() >= kMostValues) broken(fmt::format("more than {} memo entries", kMostValues));
    memo_[key] = top();
  }
  void recall(uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) broken(fmt::format("memo entry {} is not there", key));
    push(found->second);
  }

  void name(std::string_view module, std::string_view name) {
    const std::string whole = std::string(module) + "." + std::string(name);
    const auto found =
        std::find_if(kAllowed.begin(), kAllowed.end(), [&](const Allowed& row) { return row.name == whole; });
    if (found == kAllowed.end()) refused(fmt::format("asks for '{}'", printable(whole)));
    make({.kind = Kind::kName, .integer = found - kAllowed.begin()});
  }

  // ("storage", type, key, device, elements); the device it was saved from does not matter here.
  void storage() {
    const std::vector<Id> items = expect(pop(), Kind::kTuple, "a persistent id").items;
    if (items.size() != 5 || expect(items[0], Kind::kText, "a persistent id").text != "storage")
      broken("a persistent id is not ('storage', type, key, device, elements)");
    named(items[1], Role::kStorage, "a storage's type");
    make({.kind = Kind::kStorage,
          .integer = expect(items[4], Kind::kInteger, "a storage's size").integer,
          .text = expect(items[2], Kind::kText, "a storage's key").text,
          .items = {items[1]}});
  }

  void call() {
    const std::vector<Id> arguments = expect(pop(), Kind::kTuple, "the arguments of a call").items;
    const Allowed& callee = kAllowed[size_t(expect(pop(), Kind::kName, "what is called").integer)];
    const auto require = [&](size_t least, size_t most) {
      if (arguments.size() < least || arguments.size() > most)
        broken(fmt::format("'{}' gets {} arguments", callee.name, arguments.size()));
    };
    switch (callee.role) {
      case Role::kDictionary:
        require(0, 1);
        return make({.kind = Kind::kDictionary, .items = arguments.empty() ? arguments : pairs(arguments[0])});
      case Role::kSize:
        require(1, 1);
        expect(arguments[0], Kind::kTuple, "a size");
        return push(arguments[0]);
      case Role::kParameter:
        require(3, 4);
        expect(arguments[0], Kind::kTensor, "a parameter's data");
        return push(arguments[0]);
      case Role::kTensor:
        require(6, 7);
        if (arguments.size() == 7) require_no_bits(arguments[6]);
        return make({.kind = Kind::kTensor, .items = {arguments.begin(), arguments.begin() + 4}});
      case Role::kTensorOfDtype:
        require(7, 8);
        if (arguments.size() == 8) require_no_bits(arguments[7]);
        return make(
            {.kind = Kind::kTensor, .items = {arguments[0], arguments[1], arguments[2], arguments[3], arguments[6]}});
      default:
        refused(fmt::format("calls '{}'", callee.name));
    }
  }

  // The members of a list of pairs, as Python 2 wrote ordered dictionaries.
  std::vector<Id> pairs(Id list) const {
    std::vector<Id> items;
    for (const Id id : expect(list, Kind::kList, "what a dictionary is made of").items) {
      const Value& pair = value(id);
      if ((pair.kind != Kind::kTuple && pair.kind != Kind::kList) || pair.items.size() != 2)
        broken("a dictionary is made of something else than pairs");
      items.insert(items.end(), pair.items.begin(), pair.items.end());
    }
    return items;
  }

  // A view may be marked as conjugated or negated, which would change its numbers.
  void require_no_bits(Id id) const {
    const Value& bits = value(id);
    if (bits.kind == Kind::kNone || (bits.kind == Kind::kDictionary && bits.items.empty())) return;
    refused("has a tensor with a conjugate or negative bit");
  }

  std::span<const std::byte> code_;
  const fs::path& path_;
  size_t at_ = 0, members_ = 0;
  std::vector<Value> values_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, Id> memo_;
};

std::vector<int64_t> integers(const Machine& machine, Id id, const char* what) {
  const Value& tuple = machine.expect(id, Kind::kTuple, what);
  if (tuple.items.size() > kMostDimensions)
    machine.broken(fmt::format("{} of {} dimensions (limit {})", what, tuple.items.size(), kMostDimensions));
  std::vector<int64_t> numbers;
  for (const Id item : tuple.items) numbers.push_back(machine.expect(item, Kind::kInteger, what).integer);
  return numbers;
}

PickledTensor tensor_of(const Machine& machine, std::string_view name, const Value& value) {
  const Value& storage = machine.expect(value.items[0], Kind::kStorage, "a tensor's storage");
  const Allowed& type = machine.named(storage.items[0], Role::kStorage, "a storage's type");
  PickledTensor tensor;
  tensor.name = name;
  tensor.dtype =
      value.items.size() > 4 ? machine.named(value.items[4], Role::kDtype, "a tensor's dtype").dtype : type.dtype;
  tensor.offset = machine.expect(value.items[1], Kind::kInteger, "a tensor's offset").integer;
  tensor.shape = integers(machine, value.items[2], "a tensor's shape");
  tensor.stride = integers(machine, value.items[3], "a tensor's strides");
  tensor.storage = storage.text;
  tensor.storage_dtype = type.dtype;
  tensor.storage_elements = storage.integer;
  return tensor;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 100;
  std::string shown(text.substr(0, kLongest));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.size() > kLongest ? shown + "..." : shown;
}

PickledTensors read_torch_pickle(std::span<const std::byte> pickle, const fs::path& path) {
  Machine machine(pickle, path);
  const Value& root = machine.run();
  if (root.kind != Kind::kDictionary)
    fail(Code::kModel, "cannot read {}: it holds {}, expected a dictionary of tensors by name", path.string(),
         kKindNames[size_t(root.kind)]);
  PickledTensors result;
  std::unordered_set<std::string_view> names;
  for (size_t i = 0; i < root.items.size(); i += 2) {
    const std::string_view name = machine.expect(root.items[i], Kind::kText, "a key").text;
    if (!names.insert(name).second) machine.broken(fmt::format("duplicate key '{}'", printable(name)));
    const Value& value = machine.value(root.items[i + 1]);
    if (result.tensors.size() >= kMostTensors) machine.broken(fmt::format("more than {} tensors", kMostTensors));
    if (value.kind == Kind::kTensor)
      result.tensors.push_back(tensor_of(machine, name, value));
    else
      result.others.push_back(printable(name));
  }
  return result;
}

}  // namespace suture::io
