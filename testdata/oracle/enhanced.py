"""Makes enhanced CT images of a classic series.

    python enhanced.py DIR OUT

DIR holds the *.dcm of one series. OUT/classic gets them again, each with a Rescale Slope and
Intercept of its own, as some reconstructions have; every other folder of OUT gets one multi-frame
image of the same slices, as highdicom converts them, in another encapsulation each. Prints the
folders' names with their transfer syntaxes as JSON.
"""
import json
import pathlib
import random
import sys
import warnings

import pydicom
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

warnings.simplefilter("ignore")  # of attributes that have no place in the enhanced image
source, out = map(pathlib.Path, sys.argv[1:3])
(out / "classic").mkdir(parents=True)
slices = []
for k, path in enumerate(sorted(source.glob("*.dcm"))):
    s = pydicom.dcmread(path)
    s.RescaleSlope, s.RescaleIntercept = ["1", "0.5", "1.25"][k % 3], str(-1024 - k)
    s.save_as(out / "classic" / path.name)
    slices.append(s)
random.Random(1).shuffle(slices)
syntaxes = {}


def save(name, image):
    (out / name).mkdir()
    image.save_as(out / name / "enhanced.dcm")
    syntaxes[name] = str(image.file_meta.TransferSyntaxUID)


def convert(syntax, **options):
    return LegacyConvertedEnhancedCTImage(slices, "1.2.3.1", 1, "1.2.3.2", 1, transfer_syntax_uid=syntax, **options)


save("explicit", convert(uid.ExplicitVRLittleEndian))
save("implicit", convert(uid.ImplicitVRLittleEndian))
save("rle-basic-offset-table", convert(uid.RLELossless))
save("rle-extended-offset-table", convert(uid.RLELossless, use_extended_offset_table=True))

frames = list(generate_frames(convert(uid.RLELossless).PixelData, number_of_frames=len(slices)))
image = convert(uid.RLELossless)
image.PixelData = encapsulate(frames, has_bot=False)
save("rle-no-offset-table", image)

for name, syntax, plugin in (("jpegls", uid.JPEGLSLossless, "pyjpegls"), ("jpeg2000", uid.JPEG2000Lossless, "pylibjpeg")):
    image = convert(uid.ExplicitVRLittleEndian)
    image.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    frames = list(generate_frames(image.PixelData, number_of_frames=len(slices)))
    image.PixelData = encapsulate(frames, fragments_per_frame=3)
    save(f"{name}-in-fragments", image)
    image.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=False)
    save(f"{name}-in-fragments-no-offset-table", image)

# What is shared may stand in each frame's own groups (PS3.3 C.7.6.16.1.1); an enhanced CT has the
# same macros as a converted one.
image = convert(uid.ExplicitVRLittleEndian)
image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = uid.EnhancedCTImageStorage
shared = image.SharedFunctionalGroupsSequence[0]
for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence", "CTImageFrameTypeSequence"):
    for own in image.PerFrameFunctionalGroupsSequence:
        setattr(own, keyword, getattr(shared, keyword))
    delattr(shared, keyword)
save("nothing-shared", image)
print(json.dumps(syntaxes))
