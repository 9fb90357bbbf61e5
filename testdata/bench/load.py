"""Prints the seconds SimpleITK takes to load a CT series and resample it to 1 mm.

    python load.py DIR THREADS
"""
import sys
import time

import SimpleITK as sitk

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(sys.argv[2]))
begin = time.perf_counter()
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))
image = reader.Execute()
size = [int((n - 1) * d + 1e-6) + 1 for n, d in zip(image.GetSize(), image.GetSpacing())]
sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), (1.0, 1.0, 1.0),
              image.GetDirection(), -1000, sitk.sitkInt16)
print(time.perf_counter() - begin)
