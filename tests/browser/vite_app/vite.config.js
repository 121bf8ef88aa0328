import { defineConfig } from 'vite';

// Threads need a cross-origin isolated page.
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

const pages = { rolldownOptions: { input: ['index.html', 'hands.html', 'background.html'] } };

export default defineConfig({ server: { headers }, preview: { headers }, build: pages });
