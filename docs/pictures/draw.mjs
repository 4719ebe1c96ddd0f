// Draw each .mmd of this folder as an .svg, which the pages show: a site with no script from elsewhere.
// In this folder: npm install --no-save mermaid playwright-core && node draw.mjs
// A Chromium is needed, at $CHROMIUM or where Debian has it.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

const here = new URL('.', import.meta.url)
const mermaid = createRequire(import.meta.url).resolve('mermaid/dist/mermaid.min.js')
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
})
const page = await browser.newPage()
await page.setContent('<body></body>')
await page.addScriptTag({ path: mermaid })
for (const name of readdirSync(here).filter((each) => each.endsWith('.mmd'))) {
  const source = readFileSync(new URL(name, here), 'utf8')
  const svg = await page.evaluate(async ({ source, id }) => {
    mermaid.initialize({
      startOnLoad: false, theme: 'neutral', htmlLabels: false, flowchart: { htmlLabels: false },
      themeVariables: { fontFamily: 'sans-serif', fontSize: '15px' }, deterministicIds: true,
    })
    const { svg } = await mermaid.render(id, source)
    const drawn = new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement
    const [x, y, width, height] = drawn.getAttribute('viewBox').split(' ').map(Number)
    drawn.setAttribute('width', Math.ceil(width)) // no size of its own: pages would stretch it
    drawn.setAttribute('height', Math.ceil(height))
    drawn.setAttribute('style', 'background: white; max-width: 100%')
    for (const path of drawn.querySelectorAll('[data-points]')) path.removeAttribute('data-points')
    return new XMLSerializer().serializeToString(drawn).replace(/(\d+\.\d)\d+/g, '$1')
  }, { source, id: name.replace('.mmd', '') })
  const sum = createHash('sha256').update(source).digest('hex') // tests/docs: is the picture that of its source?
  writeFileSync(new URL(name.replace('.mmd', '.svg'), here), `<!-- ${sum} -->\n${svg}\n`)
}
await browser.close()
