// Writes ../tgc/view/explorer.js: program, worker and style in one script. Its first line holds the hash of all that it
// is made of (package-lock.json, this file and src/), by which a test sees, without Node, whether it was built again.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import * as esbuild from "esbuild";

const sources = ["build.mjs", "package-lock.json", "package.json", ...readdirSync("src").map((name) => `src/${name}`)].sort();
const hash = createHash("sha256");
for (const path of sources) {
  hash.update(`${path}\0`).update(readFileSync(path, "utf8").replaceAll("\r\n", "\n"));
}

const common = { bundle: true, minify: true, write: false, format: "iife", target: "es2022", legalComments: "none" };
const worker = await esbuild.build({ ...common, entryPoints: ["src/worker.ts"] });
const inlined = {
  name: "worker",
  setup(build) {
    build.onResolve({ filter: /^worker-source$/ }, (args) => ({ path: args.path, namespace: "worker" }));
    build.onLoad({ filter: /.*/, namespace: "worker" }, () => ({ contents: worker.outputFiles[0].text, loader: "text" }));
  },
};
const made = await esbuild.build({
  ...common,
  entryPoints: ["src/main.ts"],
  loader: { ".css": "text" },
  plugins: [inlined, minifiedCss()],
});

function minifiedCss() {
  return {
    name: "css",
    setup(build) {
      build.onLoad({ filter: /\.css$/ }, async (args) => {
        const text = readFileSync(args.path, "utf8");
        return { contents: (await esbuild.transform(text, { loader: "css", minify: true })).code, loader: "text" };
      });
    },
  };
}

const bundled = ["@dagrejs/dagre", "d3-color", "d3-dispatch", "d3-drag", "d3-ease", "d3-interpolate", "d3-selection", "d3-timer", "d3-transition", "d3-zoom"];
const notices = bundled.map((name) => {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  return `${name} ${version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}`;
});
const legal = `/* Built from web/ by \`npm run build\`, with these packages:\n\n${notices.join("\n\n").replaceAll("*/", "* /")}\n*/\n`;
// In a page, the text of a script ends at the first "</script".
const text = made.outputFiles[0].text.replaceAll(/<(?=\/script|!--)/gi, "\\x3c");
writeFileSync("../tgc/view/explorer.js", `// source sha256: ${hash.digest("hex")}\n${legal}${text}`);
console.log(`explorer.js: ${(text.length / 1024).toFixed(0)} KiB`);
