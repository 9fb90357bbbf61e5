// Package pulmonode is a DICOM network node that finds lung nodules: a chest CT
// series comes in by C-STORE, a segmentation (SEG), a structured report (SR) and
// key images go back by C-STORE.
//
// It holds no code; the rooms are:
//
//	cmd/pulmonode  the command
//	config         node.toml
//	dimse          associations, C-ECHO and C-STORE, of use on its own
//	node           the life of a series: store, completion, queue, delivery
//	inference      volume, candidates, contours, characteristics
//	sr             results as DICOM documents
//
// ARCHITECTURE.md walks one slice through them. Not for clinical use.
package pulmonode
