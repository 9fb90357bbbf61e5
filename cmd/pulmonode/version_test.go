package main

import (
	"testing"

	"github.com/pulmonode/pulmonode/inference/pixel"
)

func TestVersionNamesTheCodecs(t *testing.T) {
	got := codecs([]pixel.Syntax{
		{Name: "Explicit VR Little Endian", Decoder: "pulmonode"},
		{Name: "RLE Lossless", Decoder: "pulmonode"},
		{Name: "JPEG-LS Lossless", Decoder: "CharLS 2.4.1"},
		{Name: "JPEG 2000"},
	})
	if want := "pixel data by pulmonode, CharLS 2.4.1; not in this build: JPEG 2000"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
