// Reads segmentations and reports as viewers of the Cornerstone family (OHIF
// among them) do, and compares them with what was put in.
//
// Usage: cornerstone.mjs dcmjs|adapters FILE.dcm..., each with what it must say
// in FILE.json, and its CT in ../ct/CASE. Prints "FILE<tab>ok" or "FILE<tab>what
// differs".

import fs from 'node:fs';
import path from 'node:path';
import dcmjs from 'dcmjs';

const { DicomMessage, DicomMetaDictionary } = dcmjs.data;

function bytes(file) {
  const b = fs.readFileSync(file);
  return b.buffer.slice(b.byteOffset, b.byteOffset + b.length);
}

function read(file) {
  return DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(bytes(file)).dict);
}

const list = v => (v === undefined ? [] : Array.isArray(v) ? v : [v]);
const first = v => list(v)[0];
const caseOf = file => path.basename(file).split('.')[0];

// wanted is the set of voxels of a nodule, as "slice:offset".
function wanted(truth, n) {
  return new Set(truth.nodules[n].voxels.map(([x, y, z]) => `${z}:${y * truth.columns + x}`));
}

function* differ(truth, found) {
  for (let n = 0; n < truth.nodules.length; n++) {
    const want = wanted(truth, n);
    const got = found[n + 1] ?? new Set();
    let missing = 0;
    for (const v of want) missing += got.has(v) ? 0 : 1;
    if (missing || got.size !== want.size) {
      yield `segment ${n + 1}: ${missing} of ${want.size} voxels are missing, ${got.size - want.size + missing} too many`;
    }
  }
}

const slot = (truth, uid, frame) => truth.slices.findIndex(s => s.sop_instance_uid === uid && (s.frame || 1) === (frame || 1));

// With dcmjs alone: frames are unpacked and laid where their source images are.
const withDcmjs = {
  *seg(file, truth) {
    const d = read(file);
    const size = d.Rows * d.Columns;
    const packed = new Uint8Array(first(d.PixelData));
    const bits = d.BitsAllocated === 1 ? dcmjs.data.BitArray.unpack(packed) : packed;
    const found = {};
    list(d.PerFrameFunctionalGroupsSequence).forEach((group, i) => {
      const source = first(first(group.DerivationImageSequence).SourceImageSequence);
      const z = slot(truth, source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber);
      const segment = first(group.SegmentIdentificationSequence)?.ReferencedSegmentNumber; // none in a label map
      for (let at = 0; at < size; at++) {
        const value = bits[i * size + at];
        if (value) (found[segment ?? value] ??= new Set()).add(`${z}:${at}`);
      }
    });
    yield* differ(truth, found);
  },
  *sr(file, truth) {
    const d = read(file);
    const named = code => item => first(item.ConceptNameCodeSequence)?.CodeValue === code;
    const measurements = list(d.ContentSequence).find(named('126010'));
    const groups = list(measurements?.ContentSequence).filter(named('125007'));
    const nodules = truth.result.nodules;
    if (groups.length !== nodules.length) yield `${groups.length} groups of measurements, not ${nodules.length}`;
    for (const n of nodules) {
      const group = groups.find(g => list(g.ContentSequence).find(named('112040'))?.UID === n.tracking_uid);
      if (!group) {
        yield `${n.id} is not there`;
        continue;
      }
      for (const [code, key] of [['118565006', 'volume_mm3'], ['103339001', 'long_axis_mm'], ['103340004', 'short_axis_mm']]) {
        const got = Number(first(first(list(group.ContentSequence).find(named(code))?.MeasuredValueSequence)?.NumericValue));
        if (!(Math.abs(got - n[key]) <= 1e-6 * n[key])) yield `${n.id}: ${key} is ${got}, not ${n[key]}`;
      }
    }
  },
};

// With the adapters: labelmaps on the CT's images, and what becomes of a report's
// measurements.
async function withAdapters() {
  const adapters = await import('@cornerstonejs/adapters');
  const core = await import('@cornerstonejs/core');
  let images = {};
  core.metaData.addProvider((type, id) => images[id]?.(type), 1000);

  function load(file, truth) {
    const folder = path.join(path.dirname(file), '..', 'ct', caseOf(file));
    const headers = {};
    for (const f of fs.readdirSync(folder).filter(f => f.endsWith('.dcm'))) {
      const d = read(path.join(folder, f));
      headers[d.SOPInstanceUID] = d;
    }
    images = {};
    return truth.slices.map(s => {
      const d = headers[s.sop_instance_uid];
      const shared = first(d.SharedFunctionalGroupsSequence);
      const position = s.position.split('\\').map(Number);
      const orientation = (d.ImageOrientationPatient ?? first(shared.PlaneOrientationSequence).ImageOrientationPatient).map(Number);
      const spacing = (d.PixelSpacing ?? first(shared.PixelMeasuresSequence).PixelSpacing).map(Number);
      const id = `test:${s.sop_instance_uid}${s.frame ? `?frame=${s.frame}` : ''}`;
      const modules = {
        generalImageModule: { sopInstanceUID: d.SOPInstanceUID },
        sopCommonModule: { sopInstanceUID: d.SOPInstanceUID, sopClassUID: d.SOPClassUID },
        generalSeriesModule: { modality: 'CT', seriesInstanceUID: d.SeriesInstanceUID },
        instance: { ...d, ImagePositionPatient: position, ImageOrientationPatient: orientation, PixelSpacing: spacing },
        imagePlaneModule: {
          rows: d.Rows, columns: d.Columns, frameOfReferenceUID: d.FrameOfReferenceUID, imagePositionPatient: position,
          imageOrientationPatient: orientation, rowCosines: orientation.slice(0, 3), columnCosines: orientation.slice(3),
          pixelSpacing: spacing, rowPixelSpacing: spacing[0], columnPixelSpacing: spacing[1],
        },
        imagePixelModule: {
          rows: d.Rows, columns: d.Columns, bitsAllocated: 16, bitsStored: 12, highBit: 11, pixelRepresentation: 0,
          samplesPerPixel: 1, photometricInterpretation: 'MONOCHROME2',
        },
      };
      images[id] = type => modules[type];
      return id;
    });
  }

  return {
    async *seg(file, truth) {
      const ids = load(file, truth);
      const state = await adapters.adaptersSEG.Cornerstone3D.Segmentation.generateToolState(ids, bytes(file), core.metaData, {});
      const found = {};
      for (const stack of state.labelMapImages) {
        stack.forEach(image => {
          const z = ids.indexOf(image.referencedImageId);
          image.voxelManager.getScalarData().forEach((v, at) => {
            if (v) (found[v] ??= new Set()).add(`${z}:${at}`);
          });
        });
      }
      core.cache.purgeCache();
      yield* differ(truth, found);
    },
  };
}

const readers = { dcmjs: async () => withDcmjs, adapters: withAdapters };
const quiet = ['log', 'info', 'warn', 'error', 'debug'];
const say = console.log.bind(console);
for (const level of quiet) console[level] = () => {};

const reader = await readers[process.argv[2]]();
for (const file of process.argv.slice(3)) {
  const kind = path.basename(path.dirname(file));
  const truth = JSON.parse(fs.readFileSync(file.replace(/\.dcm$/, '.json'), 'utf8'));
  const said = [];
  try {
    for await (const line of reader[kind](file, truth)) said.push(line);
  } catch (e) {
    said.push(String(e));
  }
  for (const line of said.length ? said : ['ok']) say(`${file}\t${line.replace(/\s+/g, ' ')}`);
}
process.exit(0);
