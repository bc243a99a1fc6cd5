// Shortcuts. A single key never fires in a field, in a dialog, in a menu, or while an input method composes
// (WCAG 2.1.4); the dialog behind «?» lists them all.

import { $, $$, on } from './dom.js';
import { openPalette } from './palette.js';

let at = -1;

function goToRow(step) {
  const rows = $$('tr[data-row]');
  if (!rows.length) return;
  $('tr[data-cur]')?.removeAttribute('data-cur');
  at = Math.max(0, Math.min(rows.length - 1, at + step));
  rows[at].setAttribute('data-cur', '');
  rows[at].scrollIntoView({ block: 'nearest' });
  $('.title', rows[at])?.focus({ preventScroll: true });
}

function goToSearch() {
  const field = $('[data-search]');
  if (field) field.focus(); else openPalette();
}

const single = {
  '/': goToSearch,
  '?': () => $('#keys')?.showModal(),
  '[': () => $('.top [data-nav]')?.click(),
  j: () => goToRow(1),
  k: () => goToRow(-1),
  x: () => $('tr[data-cur] [data-choose]')?.click(),
  c: () => $('[data-key=c]')?.click(),
  e: () => $('[data-key=e]')?.click(),
  f: () => $('[data-key=f]')?.click(),
};

function save(event) {
  const form = $('form[data-guard]');
  if (!form) return;
  event.preventDefault();
  form.requestSubmit($('button.primary', form));
}

addEventListener('keydown', (event) => {
  if (event.isComposing) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === 's') save(event);
    if (key === 'k') {
      event.preventDefault();
      openPalette();
    }
    return;
  }
  if (event.altKey || event.target.closest?.('input, textarea, select, dialog, [popover], [contenteditable]')) return;
  if (!Object.hasOwn(single, key)) return;
  event.preventDefault();
  single[key]();
});

// Where the pointer works, the keys go on from.
on('focusin', 'tr[data-row]', (_event, row) => { at = $$('tr[data-row]').indexOf(row); });
