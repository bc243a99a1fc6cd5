// Lists: choosing rows, the menu of a row, searching while typing, filters and columns that become a URL.

import { $, $$, on, place, ready, remember, t } from './dom.js';

// ---- choosing rows
const boxes = () => $$('[data-choose]');

function count() {
  const bar = $('[data-bulk]');
  if (!bar) return;
  const all = boxes();
  const chosen = all.filter((box) => box.checked).length;
  bar.hidden = !chosen;
  $('[data-n]', bar).textContent = chosen;
  for (const button of $$('[data-confirm]', bar)) {
    button.dataset.confirmBody = t('It is done to %(n)s records.', { n: chosen });
  }
  const head = $('[data-choose-all]');
  if (head) {
    head.checked = chosen > 0 && chosen === all.length;
    head.indeterminate = chosen > 0 && chosen < all.length;
  }
  for (const box of all) box.closest('tr').toggleAttribute('data-on', box.checked);
}

function checkAll(value) {
  for (const box of boxes()) box.checked = value;
  count();
}

let last;
on('click', '[data-choose]', (event, box) => {
  const all = boxes();
  if (event.shiftKey && all.includes(last)) {
    const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
    for (const between of all.slice(from, to + 1)) between.checked = box.checked;
  }
  last = box;
  count();
});
on('change', '[data-choose-all]', (_event, head) => checkAll(head.checked));
on('click', '[data-choose-none]', () => checkAll(false));
ready(count);
// A browser that comes back to the page restores the boxes after scripts have run.
addEventListener('pageshow', count);

// ---- the menu of a row: one popover for all rows, filled once per row
const menus = new Map();
let opener;

export function forgetMenu(url) {
  menus.delete(url);
}

async function openMenu(link) {
  const menu = $('#row-menu');
  const url = link.dataset.menu;
  if (!menus.has(url)) {
    const response = await fetch(url, { headers: { 'X-Requested-With': 'fetch' } }).catch(() => null);
    // Whatever the trouble is, the details page will say it better.
    if (!response?.ok || response.redirected) return location.assign(link.href);
    menus.set(url, await response.text());
  }
  menu.innerHTML = menus.get(url);
  menu.setAttribute('aria-label', link.getAttribute('aria-label'));
  menu.showPopover();
  place(menu, link);
  $('[role^=menuitem]', menu)?.focus();
  link.setAttribute('aria-expanded', 'true');
  opener = link;
}

document.addEventListener('toggle', (event) => {
  if (event.target.id !== 'row-menu' || event.newState !== 'closed') return;
  opener?.setAttribute('aria-expanded', 'false');
  if (document.activeElement === document.body) opener?.focus();
}, true);

on('click', '[data-menu]', (event, link) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openMenu(link);
});
on('keydown', '[data-menu]', (event, link) => {
  if (event.key !== ' ') return;
  event.preventDefault();
  openMenu(link);
});
// A link where there are no scripts is a menu button where there are.
ready(() => {
  for (const link of $$('[data-menu]:not([role])')) {
    link.setAttribute('role', 'button');
    link.setAttribute('aria-haspopup', 'menu');
    link.setAttribute('aria-expanded', 'false');
  }
});

// ---- searching while typing; not while an input method still composes
let timer;
function searchSoon(field) {
  clearTimeout(timer);
  timer = setTimeout(() => field.form.dispatchEvent(new CustomEvent('typed')), 250);
}
on('input', '[data-search]', (event, field) => {
  if (!event.isComposing) searchSoon(field);
});
on('compositionend', '[data-search]', (_event, field) => searchSoon(field));

// ---- forms that become a query string: what is typed replaces what is carried, blanks are left out,
// and several boxes of one name are one argument with commas
document.addEventListener('formdata', (event) => {
  const form = event.target;
  if (!form.matches('[data-query]')) return;
  const typed = [...form.elements].filter((control) => control.name && control.type !== 'hidden');
  const carried = new Set(event.formData.keys());
  for (const control of typed) {
    if (!control.matches(':disabled')) carried.delete(control.name);
  }
  for (const name of new Set(event.formData.keys())) {
    const isBox = (control) => control.type === 'checkbox' || control.type === 'radio';
    const values = carried.has(name)
      ? event.formData.getAll(name)
      : typed
        .filter((control) => control.name === name && !control.matches(':disabled'))
        .filter((control) => !isBox(control) || control.checked)
        .map((control) => control.value.trim());
    event.formData.delete(name);
    const kept = values.filter(Boolean);
    if (kept.length) event.formData.append(name, kept.join(','));
  }
});

// ---- the filter form shows one field at a time; without scripts it shows them all
function showFilter(picker) {
  for (const part of $$('[data-filter]', picker.form)) {
    part.hidden = part.disabled = part.dataset.filter !== picker.value;
    $('legend', part).className = 'sr'; // the picker above already says it
  }
}
on('change', '[data-filter-pick]', (_event, picker) => showFilter(picker));
ready(() => {
  for (const picker of $$('[data-filter-pick]')) {
    picker.closest('.field').hidden = false;
    showFilter(picker);
  }
});

// ---- the height of rows is this browser's habit
on('change', '[data-density-set]', (_event, radio) => {
  document.documentElement.dataset.density = radio.value;
  remember('density', radio.value);
});
