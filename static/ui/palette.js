// The command palette: one box over everything the person may see. A combobox with a listbox, by WAI-ARIA.

import { $, $$, on } from './dom.js';

let asked = 0;
let timer;

const field = () => $('[data-palette]');
const list = () => $('#palette-list');

export function openPalette() {
  const dialog = $('#palette');
  if (!dialog || dialog.open) return;
  dialog.showModal();
  field().select();
  fill();
}

async function fill() {
  const turn = ++asked;
  const response = await fetch(`${field().dataset.url}?q=${encodeURIComponent(field().value.trim())}`);
  const html = await response.text();
  if (turn !== asked || !response.ok || response.redirected) return;
  list().innerHTML = html;
  choose(0);
}

function choose(index) {
  const options = $$('a[role=option]', list());
  field().removeAttribute('aria-activedescendant');
  options.forEach((option, at) => option.setAttribute('aria-selected', at === index));
  if (!options[index]) return;
  options[index].scrollIntoView({ block: 'nearest' });
  field().setAttribute('aria-activedescendant', options[index].id);
}

function move(step) {
  const options = $$('a[role=option]', list());
  const at = options.findIndex((option) => option.ariaSelected === 'true');
  if (options.length) choose((at + step + options.length) % options.length);
}

on('click', '[data-open-palette]', openPalette);

on('input', '[data-palette]', (event) => {
  if (event.isComposing) return;
  clearTimeout(timer);
  timer = setTimeout(fill, 120);
});
on('compositionend', '[data-palette]', fill);

on('keydown', '[data-palette]', (event) => {
  if (event.isComposing) return;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    event.preventDefault();
    move(event.key === 'ArrowDown' ? 1 : -1);
  }
  if (event.key === 'Enter') {
    event.preventDefault();
    $('a[aria-selected=true]', list())?.click();
  }
});
