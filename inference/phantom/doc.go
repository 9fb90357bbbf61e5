// Package phantom makes a chest CT that is no patient's: an anatomy drawn from a
// seed, into which real nodules are blended at known places.
//
// The body is a set of smooth shapes in the patient's coordinates (LPS, mm; the
// carina is the origin): a chest wall in layers with ribs, spine and scapulae, two lungs
// cut from the chest by mediastinum, heart and diaphragm, and in them trees of
// arteries, veins and bronchi grown to fill the lobes, their radii after Murray's
// law. Every slice is computed by itself from those shapes (partial volume by the
// distance from each surface), so little more than the result is in memory, and
// gets correlated noise of its kernel. The nodules are crops of LIDC-IDRI (see
// NOTICE), of patients whom training never sees; each lies free in the lung, off
// the pleura and the larger vessels.
//
// [Generate] makes the volume and its truth, [WriteSeries] a DICOM series of it.
// The same options give the same bytes on the same architecture.
package phantom
