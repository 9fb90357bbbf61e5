// Package volume makes one CT volume out of the slices of a series.
//
// Stack sorts the slices by their position along the normal of the image plane
// (Instance Number says how a scanner counted, not where a slice lies), checks
// that they form one evenly spaced stack and keeps the geometry in a result.Grid.
// Load decodes each slice once into int16 HU. Resample1mm and Slabs are what the
// two networks see: separable linear interpolation in float32 in the order z, y,
// x, quantised last to 1024 levels of -1000..500 HU, bit for bit what the training
// does. Lungs finds where nodules are looked for.
//
// Voxel coordinates are x, y, z (column, row, slice) with z ascending along the
// normal; millimetres are LPS (PS3.3 C.7.6.2.1.1). Memory: two bytes for each voxel
// of the CT, two for each of the 1 mm volume and one for its lung mask.
package volume
