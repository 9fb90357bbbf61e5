// Opens studies in OHIF as a person does: the study, a double click on the
// segmentation, the slice. Takes a picture and tells where places of the patient
// lie in it.
//
// Usage: ohif.mjs CHROMIUM URL VIEWS.json, a list of {"name", "study", "series"
// (its number), "image" (SOP Instance UID), "frame", "places" (LPS), "picture"}.
// Prints a line of JSON for each: {"name", "places" (x, y in the picture)} or
// {"name", "error"}.

import fs from 'node:fs';
import puppeteer from 'puppeteer-core';

const [chromium, url, views] = process.argv.slice(2);
const patience = { timeout: 45_000 };

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'],
});

// The viewport of the CT in OHIF's own page; runs there. While the page is being
// built its services throw.
const viewport = `(() => {
  try {
    const s = window.services;
    return s.cornerstoneViewportService.getCornerstoneViewport(s.viewportGridService.getActiveViewportId());
  } catch {
    return undefined;
  }
})()`;

async function show(page, view) {
  const until = (what, condition) =>
    page.waitForFunction(condition, patience).catch(e => {
      throw new Error(`${what}: ${e.message}`);
    });
  const skipTour = () => page.evaluate(`[...document.querySelectorAll('button')].find(e => e.textContent === 'Skip all')?.click()`);
  await page.goto(`${url}/viewer?StudyInstanceUIDs=${view.study}`, { waitUntil: 'domcontentloaded', ...patience });
  const listed = '[data-cy^="study-browser-thumbnail"]';
  await until('the CT is not shown', `${viewport}?.getImageIds?.().length > 1`);
  await until('the series is not listed', `[...document.querySelectorAll('${listed}')].some(e => e.textContent.includes('S:${view.series}'))`);
  await skipTour();
  for (const entry of await page.$$(listed)) {
    if (await entry.evaluate((e, n) => e.textContent.includes(`S:${n}`), view.series)) await entry.click({ count: 2 });
  }
  await until('the segmentation is not shown',
    `window.services.segmentationService.getSegmentationRepresentations(window.services.viewportGridService.getActiveViewportId()).length > 0`);
  await until('the CT is no longer shown', `${viewport}?.getImageIds?.().length > 1`);
  const shown = await page.evaluate(`(async () => {
    const v = ${viewport};
    const at = v.getImageIds().findIndex(id => id.includes('/${view.image}/frames/${view.frame || 1}'));
    if (at < 0) return false;
    await v.setImageIdIndex(at);
    v.render();
    return true;
  })()`);
  if (!shown) throw new Error('the slice is not among the images');
  // Two pictures that are the same: nothing is still being drawn.
  let before;
  for (let i = 0; i < 60; i++) {
    await skipTour();
    await new Promise(r => setTimeout(r, 500));
    const now = Buffer.from(await page.screenshot({ type: 'png' }));
    if (before?.equals(now) && i > 2) break;
    before = now;
  }
  fs.writeFileSync(view.picture, before);
  return page.evaluate(`(() => {
    const v = ${viewport};
    const r = v.canvas.getBoundingClientRect();
    return ${JSON.stringify(view.places)}.map(p => v.worldToCanvas(p)).map(([x, y]) => [r.x + x, r.y + y]);
  })()`);
}

for (const view of JSON.parse(fs.readFileSync(views, 'utf8'))) {
  const page = await browser.newPage();
  const faults = [];
  page.on('pageerror', e => faults.push(String(e)));
  try {
    await page.setViewport({ width: 1120, height: 700 });
    console.log(JSON.stringify({ name: view.name, places: await show(page, view) }));
  } catch (e) {
    await page.screenshot({ path: view.picture }).catch(() => {});
    console.log(JSON.stringify({ name: view.name, error: [String(e), ...faults].join('; ').slice(0, 500) }));
  }
  await page.close();
}
await browser.close();
