package onnxtest

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// Localizer returns a small working model that fits the contract of stage 1:
// the probability of a voxel is sigmoid(40*(x-0.5)), so what is denser than
// about -250 HU counts as nodule. Entries of metadata replace or, when empty,
// remove the metadata of the same key ("pulmonode." left out).
func Localizer(metadata map[string]string) []byte {
	return model(
		[]tensor{scalar("gain", 40), scalar("level", 0.5)},
		[]node{
			{op: "Sub", in: []string{"cube", "level"}, out: "centred"},
			{op: "Mul", in: []string{"centred", "gain"}, out: "logit"},
			{op: "Sigmoid", in: []string{"logit"}, out: "nodule"},
		},
		[]value{{"cube", []int64{0, 1, 0, 0, 0}}},
		[]value{{"nodule", []int64{0, 1, 0, 0, 0}}},
		with(map[string]string{
			"name": "test-localizer", "spacing_mm": "[1,1,1]", "thresholds": `{"candidate":0.3}`,
		}, metadata))
}

// Refiner returns a small working model that fits the contract of stage 2. The
// mask is that of [Localizer]; every logit is an affine function of the mean of
// the slab: 10*mean for nodule, and 8*mean, -8*mean, 4*mean, -4*mean for the
// characteristics.
func Refiner(metadata map[string]string) []byte {
	return model(
		[]tensor{scalar("gain", 40), scalar("level", 0.5),
			{"w4", []int64{1, 4}, []float32{8, -8, 4, -4}}, {"b4", []int64{4}, make([]float32, 4)},
			{"w1", []int64{1, 1}, []float32{10}}, {"b1", []int64{1}, make([]float32, 1)}},
		[]node{
			{op: "Sub", in: []string{"slab", "level"}, out: "centred"},
			{op: "Mul", in: []string{"centred", "gain"}, out: "logit"},
			{op: "Sigmoid", in: []string{"logit"}, out: "mask"},
			{op: "GlobalAveragePool", in: []string{"slab"}, out: "planes"},
			{op: "ReduceMean", in: []string{"planes"}, out: "mean", axes: []int64{1, 2, 3}},
			{op: "Flatten", in: []string{"mean"}, out: "flat"},
			{op: "Gemm", in: []string{"flat", "w4", "b4"}, out: "characteristics"},
			{op: "Gemm", in: []string{"flat", "w1", "b1"}, out: "nodule"},
		},
		[]value{{"slab", []int64{0, 4, 64, 64}}},
		[]value{{"mask", []int64{0, 4, 64, 64}}, {"characteristics", []int64{0, 4}}, {"nodule", []int64{0, 1}}},
		with(map[string]string{
			"name": "test-refiner", "spacing_mm": "[1.0,0.6,0.6]",
			"thresholds":  `{"mask":0.5,"nodule":0.5,"malignancy":0.5,"margin":0.5,"texture":0.5,"calcification":0.5}`,
			"calibration": `{"nodule":[1,0],"malignancy":[1,0],"margin":[1,0],"texture":[1,0],"calcification":[1,0]}`,
		}, metadata))
}

func with(own, given map[string]string) map[string]string {
	all := map[string]string{
		"contract": "1", "version": "1.0.0", "preset": "test", "window_hu": "[-1000,500]",
		"levels": "1024", "trained_on": "nothing", "licence": "none",
	}
	maps.Copy(all, own)
	maps.Copy(all, given)
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	return all
}

// The rest writes the few messages of onnx.proto that such models need.

type tensor struct {
	name string
	dims []int64
	data []float32
}

type node struct {
	op   string
	in   []string
	out  string
	axes []int64
}

type value struct {
	name string
	dims []int64 // 0: free
}

func scalar(name string, v float32) tensor { return tensor{name, nil, []float32{v}} }

func model(weights []tensor, nodes []node, inputs, outputs []value, metadata map[string]string) []byte {
	var graph []byte
	for _, n := range nodes { // NodeProto: 1 input, 2 output, 4 op_type, 5 attribute
		var b []byte
		for _, in := range n.in {
			b = text(b, 1, in)
		}
		b = text(text(b, 2, n.out), 4, n.op)
		if n.axes != nil { // AttributeProto: 1 name, 8 ints, 20 type (7: INTS)
			a := text(nil, 1, "axes")
			for _, v := range n.axes {
				a = number(a, 8, uint64(v))
			}
			b = bytes(b, 5, number(a, 20, 7))
			b = bytes(b, 5, number(number(text(nil, 1, "keepdims"), 3, 1), 20, 2))
		}
		graph = bytes(graph, 1, b)
	}
	graph = text(graph, 2, "test")
	for _, w := range weights { // TensorProto: 1 dims, 2 data_type, 8 name, 9 raw_data
		var b []byte
		for _, d := range w.dims {
			b = number(b, 1, uint64(d))
		}
		b = text(number(b, 2, 1), 8, w.name)
		var raw []byte
		for _, v := range w.data {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		graph = bytes(graph, 5, bytes(b, 9, raw))
	}
	for field, values := range [][]value{inputs, outputs} {
		for _, v := range values {
			var shape []byte
			for i, d := range v.dims {
				dim := number(nil, 1, uint64(d))
				if d == 0 {
					dim = text(nil, 2, string(rune('a'+i)))
				}
				shape = bytes(shape, 1, dim)
			}
			tensorType := bytes(number(nil, 1, 1), 2, shape)
			graph = bytes(graph, 11+field, bytes(text(nil, 1, v.name), 2, bytes(nil, 1, tensorType)))
		}
	}
	// ModelProto: 1 ir_version, 7 graph, 8 opset_import, 14 metadata_props
	out := bytes(number(nil, 1, 8), 7, graph)
	out = bytes(out, 8, number(nil, 2, 17))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		out = bytes(out, 14, text(text(nil, 1, "pulmonode."+key), 2, metadata[key]))
	}
	return out
}

func number(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3), v)
}

func bytes(b []byte, field int, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func text(b []byte, field int, v string) []byte { return bytes(b, field, []byte(v)) }
