#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace zipmoe {

// A C-contiguous buffer of any Python object, held while this lives; nothing is copied. BufferError if it is
// read-only where it must be writable. Make and destroy it under the GIL.
class Buffer {
public:
    enum Access { kRead = PyBUF_SIMPLE, kWrite = PyBUF_WRITABLE };

    Buffer(nanobind::handle object, Access access) {
        if (PyObject_GetBuffer(object.ptr(), &view_, access) != 0) throw nanobind::python_error();
    }
    ~Buffer() { PyBuffer_Release(&view_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    uint8_t* data() const { return static_cast<uint8_t*>(view_.buf); }
    size_t size() const { return static_cast<size_t>(view_.len); }

private:
    Py_buffer view_{};
};

}  // namespace zipmoe
