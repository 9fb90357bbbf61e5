package pixel

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
)

// decodeJPEGBaseline decodes 8-bit JPEG (ITU T.81 process 1) in one component.
func decodeJPEGBaseline(b []byte, p Format, dst []uint16) error {
	img, err := jpeg.Decode(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("JPEG: %w", err)
	}
	gray, ok := img.(*image.Gray)
	if !ok || img.Bounds().Dx() != p.Columns || img.Bounds().Dy() != p.Rows {
		return fmt.Errorf("JPEG frame is in colour or of another size than its header says")
	}
	for y := range p.Rows {
		row := gray.Pix[y*gray.Stride : y*gray.Stride+p.Columns]
		for x, v := range row {
			dst[y*p.Columns+x] = uint16(v)
		}
	}
	return nil
}
