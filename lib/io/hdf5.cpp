// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5.h"

#include <ATen/ops/empty.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "io/safetensors.h"

namespace suture::io {
namespace {

// An identifier of any kind, closed by its own function.
class Id {
 public:
  Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Id& operator=(Id&&) = delete;
  ~Id() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

void silence() {
  static const herr_t done = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  (void)done;
}

// The deepest message of the library's error stack, which names the system's reason where there is one.
std::string reason() {
  std::string text;
  const auto visit = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    if (error->desc != nullptr && std::strlen(error->desc) > 0) *static_cast<std::string*>(out) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, visit, &text);
  H5Eclear2(H5E_DEFAULT);
  if (text.find("lock") != std::string::npos)
    text += "; another program may be writing it, or the file system has no locks: set HDF5_USE_FILE_LOCKING=FALSE";
  return text.empty() ? "the HDF5 library gives no reason" : text;
}

[[noreturn]] void cannot(const char* what, const std::string& where, Code code = Code::kFile) {
  fail(code, "cannot {} {}: {}", what, where, reason());
}

// The identifier, or an Error.
Id checked(hid_t id, herr_t (*close)(hid_t), const char* what, const std::string& where, Code code = Code::kFile) {
  if (id < 0) cannot(what, where, code);
  return Id(id, close);
}

Id text_type() {
  Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

// Without times, so that equal contents give equal files.
Id dataset_properties() {
  Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, false);
  return properties;
}

struct TypePair {
  at::ScalarType dtype;
  hid_t file, memory;
};

TypePair types_of(at::ScalarType dtype, const std::string& where) {
  switch (dtype) {
    case at::kFloat:
      return {dtype, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT};
    case at::kDouble:
      return {dtype, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE};
    case at::kByte:
      return {dtype, H5T_STD_U8LE, H5T_NATIVE_UINT8};
    case at::kLong:
      return {dtype, H5T_STD_I64LE, H5T_NATIVE_INT64};
    default:
      fail(Code::kBug, "cannot write {}: dtype {} has no place in our HDF5 files", where, c10::toString(dtype));
  }
}

at::ScalarType dtype_of(hid_t type, const std::string& where) {
  const H5T_class_t kind = H5Tget_class(type);
  const size_t size = H5Tget_size(type);
  if (kind == H5T_FLOAT && size == 4) return at::kFloat;
  if (kind == H5T_FLOAT && size == 8) return at::kDouble;
  if (kind == H5T_INTEGER && size == 1 && H5Tget_sign(type) == H5T_SGN_NONE) return at::kByte;
  if (kind == H5T_INTEGER && size == 8 && H5Tget_sign(type) == H5T_SGN_2) return at::kLong;
  fail(Code::kFile, "cannot read {}: expected float32, float64, uint8 or int64 numbers", where);
}

Id space_of(at::IntArrayRef sizes) {
  if (sizes.empty()) return Id(H5Screate(H5S_SCALAR), H5Sclose);
  const std::vector<hsize_t> dims(sizes.begin(), sizes.end());
  return Id(H5Screate_simple(int(dims.size()), dims.data(), nullptr), H5Sclose);
}

void write_block(hid_t group, const std::string& name, const std::string& where, const TypePair& types,
                 at::IntArrayRef sizes, const void* data) {
  const Id space = space_of(sizes);
  const Id set =
      checked(H5Dcreate2(group, name.c_str(), types.file, space, H5P_DEFAULT, dataset_properties(), H5P_DEFAULT),
              H5Dclose, "write", where, Code::kResource);
  if (H5Sget_simple_extent_npoints(space) == 0) return;
  if (H5Dwrite(set, types.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) cannot("write", where, Code::kResource);
}

// Sizes of a dataset; refuses numbers that the bytes stored cannot back, before anything is allocated.
std::vector<int64_t> stored_sizes(hid_t set, size_t element, const std::string& where) {
  const Id space = checked(H5Dget_space(set), H5Sclose, "read", where);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) cannot("read", where);
  std::vector<hsize_t> dims(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  uint64_t bytes = element;
  for (const hsize_t dim : dims)
    if (__builtin_mul_overflow(bytes, dim, &bytes)) fail(Code::kFile, "cannot read {}: its size overflows", where);
  const Id properties = checked(H5Dget_create_plist(set), H5Pclose, "read", where);
  if (H5Pget_nfilters(properties) == 0 && bytes > H5Dget_storage_size(set))
    fail(Code::kFile, "cannot read {}: its shape needs {} bytes, {} are stored", where, bytes,
         H5Dget_storage_size(set));
  return {dims.begin(), dims.end()};
}

// The one text of a scalar dataset or attribute, read by `read(type, buffer)`; both string layouts of HDF5 are
// accepted.
template <class Read>
std::string scalar_text(hid_t type, hid_t space, const std::string& where, Read read) {
  if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
    fail(Code::kFile, "cannot read {}: expected one text", where);
  if (H5Tis_variable_str(type) > 0) {
    char* text = nullptr;
    const Id memory = text_type();
    H5Tset_cset(memory, H5Tget_cset(type));
    if (read(memory, &text) < 0) cannot("read", where);
    std::string result = text == nullptr ? "" : text;
    H5free_memory(text);
    return result;
  }
  std::string result(H5Tget_size(type), '\0');
  if (read(type, result.data()) < 0) cannot("read", where);
  return result.substr(0, result.find('\0'));
}

void require_no_nul(const std::string& text, const std::string& where) {
  if (text.find('\0') != std::string::npos) fail(Code::kBug, "cannot write {}: the text holds a NUL byte", where);
}

}  // namespace

struct Hdf5Group::Handle {
  Id file, group;
};

std::vector<std::string> Hdf5Group::names() const {
  std::vector<std::string> names;
  const auto visit = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->push_back(name);
    return 0;
  };
  if (H5Literate(handle_->group, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, &names) < 0) cannot("read", where_);
  return names;
}

bool Hdf5Group::has(const std::string& name) const { return H5Lexists(handle_->group, name.c_str(), H5P_DEFAULT) > 0; }

Hdf5Group Hdf5Group::group(const std::string& name) const {
  Id group = checked(H5Gopen2(handle_->group, name.c_str(), H5P_DEFAULT), H5Gclose, "read", at(name));
  Id file = checked(H5Iget_file_id(handle_->group), H5Fclose, "read", at(name));
  return {std::make_shared<Handle>(std::move(file), std::move(group)), at(name) + "/"};
}

Hdf5Group Hdf5Group::create_group(const std::string& name) {
  Id group = checked(H5Gcreate2(handle_->group, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, "write",
                     at(name), Code::kResource);
  Id file = checked(H5Iget_file_id(handle_->group), H5Fclose, "write", at(name), Code::kResource);
  return {std::make_shared<Handle>(std::move(file), std::move(group)), at(name) + "/"};
}

void Hdf5Group::write(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().cpu().contiguous();
  write_block(handle_->group, name, at(name), types_of(plain.scalar_type(), at(name)), plain.sizes(),
              plain.const_data_ptr());
}

void Hdf5Group::write_bytes(const std::string& name, std::span<const std::byte> bytes) {
  write_block(handle_->group, name, at(name), types_of(at::kByte, at(name)), {int64_t(bytes.size())}, bytes.data());
}

void Hdf5Group::write_text(const std::string& name, const std::string& text) {
  require_no_nul(text, at(name));
  const Id type = text_type(), space(H5Screate(H5S_SCALAR), H5Sclose);
  const Id set =
      checked(H5Dcreate2(handle_->group, name.c_str(), type, space, H5P_DEFAULT, dataset_properties(), H5P_DEFAULT),
              H5Dclose, "write", at(name), Code::kResource);
  const char* data = text.c_str();
  if (H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &data) < 0) cannot("write", at(name), Code::kResource);
}

at::Tensor Hdf5Group::read(const std::string& name) const {
  const Id set = checked(H5Dopen2(handle_->group, name.c_str(), H5P_DEFAULT), H5Dclose, "read", at(name));
  const Id type = checked(H5Dget_type(set), H5Tclose, "read", at(name));
  const TypePair types = types_of(dtype_of(type, at(name)), at(name));
  at::Tensor tensor = at::empty(stored_sizes(set, c10::elementSize(types.dtype), at(name)), types.dtype);
  if (tensor.numel() > 0 && H5Dread(set, types.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.data_ptr()) < 0)
    cannot("read", at(name));
  return tensor;
}

std::vector<std::byte> Hdf5Group::read_bytes(const std::string& name) const {
  const at::Tensor tensor = read(name);
  if (tensor.scalar_type() != at::kByte || tensor.dim() != 1)
    fail(Code::kFile, "cannot read {}: expected a row of uint8", at(name));
  const auto bytes = tensor_bytes(tensor);
  return {bytes.begin(), bytes.end()};
}

std::string Hdf5Group::read_text(const std::string& name) const {
  const Id set = checked(H5Dopen2(handle_->group, name.c_str(), H5P_DEFAULT), H5Dclose, "read", at(name));
  const Id type = checked(H5Dget_type(set), H5Tclose, "read", at(name));
  const Id space = checked(H5Dget_space(set), H5Sclose, "read", at(name));
  return scalar_text(type, space, at(name),
                     [&](hid_t memory, void* out) { return H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out); });
}

Json Hdf5Group::read_json(const std::string& name) const { return parse_json(read_text(name), at(name), Code::kFile); }

namespace {

void set_attribute(hid_t group, const std::string& name, const std::string& where, hid_t file_type, hid_t memory_type,
                   const void* data) {
  const Id space(H5Screate(H5S_SCALAR), H5Sclose);
  const Id attribute = checked(H5Acreate2(group, name.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                               "write", where, Code::kResource);
  if (H5Awrite(attribute, memory_type, data) < 0) cannot("write", where, Code::kResource);
}

// A scalar number attribute of the wanted class, converted by the library.
template <class T>
T number_attribute(hid_t group, const std::string& name, const std::string& where, H5T_class_t kind,
                   hid_t memory_type) {
  const Id attribute = checked(H5Aopen(group, name.c_str(), H5P_DEFAULT), H5Aclose, "read", where);
  const Id type = checked(H5Aget_type(attribute), H5Tclose, "read", where);
  const Id space = checked(H5Aget_space(attribute), H5Sclose, "read", where);
  if (H5Tget_class(type) != kind || H5Sget_simple_extent_npoints(space) != 1)
    fail(Code::kFile, "cannot read {}: expected one {}", where,
         kind == H5T_INTEGER ? "integer" : "floating-point number");
  T value{};
  if (H5Aread(attribute, memory_type, &value) < 0) cannot("read", where);
  return value;
}

}  // namespace

void Hdf5Group::set_text(const std::string& attribute, const std::string& text) {
  require_no_nul(text, at("@" + attribute));
  const Id type = text_type();
  const char* data = text.c_str();
  set_attribute(handle_->group, attribute, at("@" + attribute), type, type, &data);
}

void Hdf5Group::set_integer(const std::string& attribute, int64_t value) {
  set_attribute(handle_->group, attribute, at("@" + attribute), H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void Hdf5Group::set_number(const std::string& attribute, double value) {
  set_attribute(handle_->group, attribute, at("@" + attribute), H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

std::string Hdf5Group::text(const std::string& attribute) const {
  const std::string where = at("@" + attribute);
  const Id id = checked(H5Aopen(handle_->group, attribute.c_str(), H5P_DEFAULT), H5Aclose, "read", where);
  const Id type = checked(H5Aget_type(id), H5Tclose, "read", where);
  const Id space = checked(H5Aget_space(id), H5Sclose, "read", where);
  return scalar_text(type, space, where, [&](hid_t memory, void* out) { return H5Aread(id, memory, out); });
}

int64_t Hdf5Group::integer(const std::string& attribute) const {
  return number_attribute<int64_t>(handle_->group, attribute, at("@" + attribute), H5T_INTEGER, H5T_NATIVE_INT64);
}

double Hdf5Group::number(const std::string& attribute) const {
  return number_attribute<double>(handle_->group, attribute, at("@" + attribute), H5T_FLOAT, H5T_NATIVE_DOUBLE);
}

void Hdf5Group::copy_from(const Hdf5Group& source, const std::string& name) {
  if (H5Ocopy(source.handle_->group, name.c_str(), handle_->group, name.c_str(), H5P_DEFAULT, H5P_DEFAULT) < 0)
    cannot("copy", source.at(name), Code::kResource);
}

Hdf5Group Hdf5File::open(const fs::path& path) {
  silence();
  require_exists(path, "HDF5 file", Code::kData);
  Id file = checked(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, "read", path.string());
  Id root = checked(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose, "read", path.string());
  return {std::make_shared<Hdf5Group::Handle>(std::move(file), std::move(root)), path.string() + ":/"};
}

void Hdf5File::write(const fs::path& path, const std::function<void(Hdf5Group&)>& fill) {
  silence();
  AtomicFile target(path);
  target.close();
  {
    Id file = checked(H5Fcreate(target.temporary().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, "write",
                      path.string(), Code::kResource);
    Id root = checked(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose, "write", path.string(), Code::kResource);
    Hdf5Group group(std::make_shared<Hdf5Group::Handle>(std::move(file), std::move(root)), path.string() + ":/");
    fill(group);
    if (H5Fflush(group.handle_->file, H5F_SCOPE_GLOBAL) < 0) cannot("write", path.string(), Code::kResource);
  }
  Hdf5File::open(target.temporary());
  target.commit();
}

void write_schema(Hdf5Group& root, const std::string& schema, int64_t version) {
  root.set_text("schema", schema);
  root.set_integer("version", version);
}

int64_t require_schema(const Hdf5Group& root, const fs::path& path, const std::string& schema, int64_t newest) {
  std::string found;
  int64_t version = 0;
  try {
    found = root.text("schema");
    version = root.integer("version");
  } catch (const Error&) {
    fail(Code::kData, "cannot use {}: it has no schema and version, so suture did not write it; expected {}",
         path.string(), schema);
  }
  if (found != schema) fail(Code::kData, "cannot use {}: it is a {} file, expected {}", path.string(), found, schema);
  if (version < 1 || version > newest)
    fail(Code::kData, "cannot use {}: {} version {} is not supported (1..{} are)", path.string(), schema, version,
         newest);
  return version;
}

}  // namespace suture::io
