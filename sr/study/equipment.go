package study

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// Purposes of contributing equipment (PS3.16 CID 7005).
var (
	acquisitionEquipment = Code{"109101", "DCM", "Acquisition Equipment"}
	processingEquipment  = Code{"109102", "DCM", "Processing Equipment"}
)

// equipment names what made the object. All of it is required of segmentations
// and reports (Enhanced General Equipment, PS3.3 C.7.5.2). An installation has
// no serial number but its UID; without one the version takes its place.
func equipment(o Object) []*dicom.Element {
	out := []*dicom.Element{
		Text(tag.Manufacturer, Manufacturer),
		Text(tag.ManufacturerModelName, cmp.Or(o.Algorithm.Name, Manufacturer)),
		Text(tag.DeviceSerialNumber, cmp.Or(o.DeviceUID, o.Algorithm.Version, "0")),
		Text(tag.SoftwareVersions, SoftwareVersions(o.Algorithm)...),
	}
	if looksLikeUID(o.DeviceUID) {
		out = append(out, Text(tag.DeviceUID, o.DeviceUID))
	}
	return out
}

// SoftwareVersions are the version of the program and those of its models, each
// model with the beginning of its hash.
func SoftwareVersions(a result.Algorithm) []string {
	out := []string{cmp.Or(a.Version, "unknown")}
	for _, m := range a.Models {
		v := strings.Join(strings.Fields(m.Role+" "+m.Version), " ")
		if m.SHA256 != "" {
			v = fmt.Sprintf("%s sha256 %.16s", v, m.SHA256)
		}
		out = append(out, v)
	}
	return out
}

// scanner are the attributes of the images that say what they were made with.
var scanner = []dataset.Tag{dataset.Manufacturer, dataset.InstitutionName, dataset.ManufacturerModelName, dataset.StationName,
	dataset.DeviceSerialNumber, dataset.SoftwareVersions, dataset.DeviceUID}

// contributing names the scanner, ourselves and each model (PS3.3 C.12.1), as
// IHE AIR asks (6.5.3.1): the result goes on saying where it is from when its
// series is rearranged, and a model that is trained anew has another Device UID.
func (r Repertoire) contributing(o Object, clock time.Time) *dicom.Element {
	var items [][]*dicom.Element
	if len(valuesOf(r.ct, dataset.Manufacturer)) > 0 { // required in the item
		item := Item(acquisitionEquipment.Element(tag.PurposeOfReferenceCodeSequence))
		for _, t := range scanner {
			if e := r.Copy(r.ct, t); e != nil {
				item = append(item, e)
			}
		}
		items = append(items, item)
	}
	ours := Item(
		processingEquipment.Element(tag.PurposeOfReferenceCodeSequence),
		Text(tag.ContributionDateTime, datetime(clock)),
		Text(tag.ContributionDescription, NotVerified),
	)
	items = append(items, append(ours, equipment(o)...))
	for _, m := range o.Algorithm.Models {
		model := Item(
			processingEquipment.Element(tag.PurposeOfReferenceCodeSequence),
			Text(tag.ContributionDescription, "Model of the stage "+m.Role),
			Text(tag.Manufacturer, Manufacturer),
			Text(tag.ManufacturerModelName, strings.TrimSpace(o.Algorithm.Name+" "+m.Role)),
			Text(tag.SoftwareVersions, cmp.Or(m.Version, "unknown")),
		)
		if uid := modelUID(m); uid != "" {
			model = append(model, Text(tag.DeviceUID, uid))
		}
		items = append(items, model)
	}
	return Sequence(tag.ContributingEquipmentSequence, items...)
}

// modelUID is a UID that a model file has by its contents alone: a UUID of
// version 8 (RFC 9562 5.8) of the beginning of its hash, as PS3.5 B.2 writes it.
func modelUID(m result.Model) string {
	hash, err := hex.DecodeString(m.SHA256)
	if err != nil || len(hash) != sha256.Size {
		return ""
	}
	hash[6] = hash[6]&0x0F | 0x80
	hash[8] = hash[8]&0x3F | 0x80
	return "2.25." + new(big.Int).SetBytes(hash[:16]).String()
}
