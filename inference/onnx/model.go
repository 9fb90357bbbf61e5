package onnx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// maxModelBytes bounds a model file: the full-width networks are 104 MB; a
// protobuf message cannot exceed 2 GiB.
const maxModelBytes = 1 << 30

// Value is an input or output of a model's graph.
type Value struct {
	Name string
	Type int     // TensorProto.DataType; 1 is float32
	Dims []int64 // 0 where the dimension is free
}

// Graph is what a model file says of itself.
type Graph struct {
	Opset    int64 // of the default operator domain
	Inputs   []Value
	Outputs  []Value
	Metadata map[string]string // ModelProto.metadata_props
	SHA256   string            // of the file, hexadecimal
}

// Parse reads the description of an ONNX model from the file's bytes, without
// ONNX Runtime. The weights are stepped over, not read.
func Parse(model []byte) (*Graph, error) {
	if len(model) == 0 {
		return nil, errors.New("the model file is empty")
	}
	if len(model) > maxModelBytes {
		return nil, fmt.Errorf("the model file has %d bytes; at most %d are read", len(model), maxModelBytes)
	}
	g := &Graph{Metadata: map[string]string{}}
	initializers := map[string]bool{}
	// Field numbers are those of onnx.proto: ModelProto 7 graph, 8 opset_import,
	// 14 metadata_props.
	err := fields(model, func(number int, _ uint64, b []byte) error {
		switch number {
		case 7:
			return g.graph(b, initializers)
		case 8:
			var domain string
			var version uint64
			err := fields(b, func(n int, v uint64, b []byte) error {
				switch n {
				case 1:
					domain = string(b)
				case 2:
					version = v
				}
				return nil
			})
			if err == nil && (domain == "" || domain == "ai.onnx") {
				g.Opset = int64(version)
			}
			return err
		case 14:
			var key, value string
			err := fields(b, func(n int, _ uint64, b []byte) error {
				switch n {
				case 1:
					key = string(b)
				case 2:
					value = string(b)
				}
				return nil
			})
			g.Metadata[key] = value
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("not a readable ONNX model: %w", err)
	}
	if len(g.Outputs) == 0 {
		return nil, errors.New("not a readable ONNX model: it has no graph")
	}
	// Old exporters list weights among the inputs too.
	inputs := g.Inputs[:0]
	for _, in := range g.Inputs {
		if !initializers[in.Name] {
			inputs = append(inputs, in)
		}
	}
	g.Inputs = inputs
	sum := sha256.Sum256(model)
	g.SHA256 = hex.EncodeToString(sum[:])
	return g, nil
}

// graph reads a GraphProto: 5 initializer, 11 input, 12 output.
func (g *Graph) graph(b []byte, initializers map[string]bool) error {
	return fields(b, func(number int, _ uint64, b []byte) error {
		switch number {
		case 5: // TensorProto: 8 name
			return fields(b, func(n int, _ uint64, b []byte) error {
				if n == 8 {
					initializers[string(b)] = true
				}
				return nil
			})
		case 11, 12:
			v, err := value(b)
			if number == 11 {
				g.Inputs = append(g.Inputs, v)
			} else {
				g.Outputs = append(g.Outputs, v)
			}
			return err
		}
		return nil
	})
}

// value reads a ValueInfoProto: 1 name, 2 type; TypeProto: 1 tensor_type;
// Tensor: 1 elem_type, 2 shape; TensorShapeProto: 1 dim; Dimension: 1 dim_value.
func value(b []byte) (Value, error) {
	var v Value
	err := fields(b, func(n int, _ uint64, b []byte) error {
		switch n {
		case 1:
			v.Name = string(b)
		case 2:
			return fields(b, func(n int, _ uint64, b []byte) error {
				if n != 1 {
					return nil
				}
				return fields(b, func(n int, x uint64, b []byte) error {
					switch n {
					case 1:
						v.Type = int(x)
					case 2:
						return fields(b, func(n int, _ uint64, b []byte) error {
							if n != 1 {
								return nil
							}
							var size int64
							err := fields(b, func(n int, x uint64, _ []byte) error {
								if n == 1 {
									size = int64(x)
								}
								return nil
							})
							v.Dims = append(v.Dims, size)
							return err
						})
					}
					return nil
				})
			})
		}
		return nil
	})
	return v, err
}

var errTruncated = errors.New("it ends in the middle of a field")

// fields calls f for each field of a protobuf message: with the number for
// varint and fixed fields, with the bytes for length-delimited ones. It never
// reads past b and allocates nothing.
func fields(b []byte, f func(number int, v uint64, bytes []byte) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
			return errTruncated
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch key & 7 {
		case 0:
			v, n = binary.Uvarint(b)
			if n <= 0 {
				return errTruncated
			}
			b = b[n:]
		case 1:
			if len(b) < 8 {
				return errTruncated
			}
			v, b = binary.LittleEndian.Uint64(b), b[8:]
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errTruncated
			}
			data, b = b[n:n+int(size)], b[n+int(size):]
		case 5:
			if len(b) < 4 {
				return errTruncated
			}
			v, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			return fmt.Errorf("field of wire type %d", key&7)
		}
		if err := f(int(key>>3), v, data); err != nil {
			return err
		}
	}
	return nil
}

func (v Value) String() string {
	dims := make([]string, len(v.Dims))
	for i, d := range v.Dims {
		dims[i] = "?"
		if d > 0 {
			dims[i] = fmt.Sprint(d)
		}
	}
	return fmt.Sprintf("%s [%s]", v.Name, strings.Join(dims, ","))
}
