"""Compares a CT volume and its 1 mm levels with pydicom and SimpleITK.

    python volume.py DIR HU LEVELS [--tilted]

DIR holds the *.dcm of one series; HU is raw int16 and LEVELS raw uint16, both z, y, x, as
pulmonode makes them. HU are compared with pydicom's voxel by voxel, and with SimpleITK's where no
padding is. Levels are compared with SimpleITK's linear interpolation in float64, not rounded to
levels. With --tilted, for images that SimpleITK has no geometry for, the axes are taken to be at
right angles for that. Prints JSON; places are LPS mm.
"""
import glob
import json
import sys

import numpy as np
import pydicom
import SimpleITK as sitk

AIR = -1000  # what padding becomes

folder, hu_path, levels_path = sys.argv[1:4]
tilted = "--tilted" in sys.argv[4:]

# pydicom: slices by their position along the normal, PS3.3 C.7.6.2.1.1.
slices = [pydicom.dcmread(path) for path in glob.glob(f"{folder}/*.dcm")]
cosines = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
slices.sort(key=lambda s: np.dot(np.cross(*cosines), np.array(s.ImagePositionPatient, float)))
planes, paddings = [], []
for s in slices:
    stored = s.pixel_array
    padding = np.zeros(stored.shape, bool)
    if "PixelPaddingValue" in s:
        padding = stored == np.array(s.PixelPaddingValue, np.uint16).astype(stored.dtype)
    hu = np.rint(stored * float(s.RescaleSlope) + float(s.RescaleIntercept))
    planes.append(np.where(padding, AIR, np.clip(hu, -32768, 32767)))
    paddings.append(padding)
hu, padding = np.stack(planes).astype(np.int16), np.stack(paddings)
rows, columns = hu.shape[1:]
between_rows, between_columns = map(float, slices[0].PixelSpacing)


def place(s, x, y):
    """Equation C.7.6.2.1-1."""
    return np.array(s.ImagePositionPatient, float) + x * between_columns * cosines[0] + y * between_rows * cosines[1]


corners = [place(s, x, y).tolist() for s in (slices[0], slices[-1]) for y in (0, rows - 1) for x in (0, columns - 1)]

# SimpleITK: its own reading of pixels and geometry.
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
read = reader.Execute()
image = sitk.GetImageFromArray(hu)  # padding is air on both sides before it is interpolated
if tilted:
    step = np.linalg.norm(np.subtract(slices[-1].ImagePositionPatient, slices[0].ImagePositionPatient)) / (len(slices) - 1)
    image.SetSpacing((between_columns, between_rows, step))
else:
    image.CopyInformation(read)

ours = np.fromfile(hu_path, np.int16)
levels = np.fromfile(levels_path, np.uint16)
size = [int(np.floor((n - 1) * d + 1e-6)) + 1 for n, d in zip(image.GetSize(), image.GetSpacing())]
mm = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), (1.0, 1.0, 1.0),
                   image.GetDirection(), AIR, sitk.sitkFloat64)
exact = (np.clip(sitk.GetArrayFromImage(mm), -1000, 500) + 1000) * 0.682
same_size = ours.size == hu.size and levels.size == exact.size
print(json.dumps({
    "instances": [s.SOPInstanceUID for s in slices],
    "corners": corners,  # x fastest, then y, then z
    "size": list(image.GetSize()),
    "spacing": list(image.GetSpacing()),
    "itk_corners": None if tilted else [image.TransformIndexToPhysicalPoint((x, y, z)) for z in (0, len(slices) - 1)
                                        for y in (0, rows - 1) for x in (0, columns - 1)],
    "size_at_1mm": size,
    "hu_differ": int((ours != hu.ravel()).sum()) if same_size else -1,
    "itk_hu_differ": int((sitk.GetArrayFromImage(read) != hu)[~padding].sum()),
    "padding": int(padding.sum()),
    "level_error": float(np.abs(levels - exact.ravel()).max()) if same_size else -1,
    "levels_differ": int((levels != np.floor(exact.ravel() + 0.5)).sum()) if same_size else -1,
}))
