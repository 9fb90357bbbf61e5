// Package onnx is the one place that talks to ONNX Runtime.
//
// A model file is read twice. First by this package alone ([Parse]): names,
// shapes and the pulmonode.* metadata are taken out of the protobuf in plain Go
// and held against the models' contract, so a wrong file is refused with a
// sentence before any native code sees it. Then by ONNX Runtime ([Open]), whose
// shared library is loaded at run time: the program builds and starts without
// it, and says where it looked when it is missing.
//
// The runtime's environment belongs to the process: the first [Open] decides
// which library is loaded, a different one later is an error. A [Session] runs
// one batch at a time; callers on several goroutines take turns. Batches that
// do not fit the accelerator's memory are halved and tried again.
package onnx
