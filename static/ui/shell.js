// The frame: sidebar, theme, menus, messages, and the question before anything that cannot be taken lightly.

import { $, $$, agreed, on, place, ready, remember, t, toast } from './dom.js';

// ---- messages
on('click', '[data-close]', (_event, button) => button.closest('.toast').remove());
setTimeout(() => $$('#toasts .toast:not(.t-red)').forEach((box) => box.remove()), 7000);

// ---- popovers: the browser opens, closes and dismisses them; placing them and arrow keys are left to us
document.addEventListener('toggle', (event) => {
  const popover = event.target;
  if (!popover.matches?.('[popover].menu') || event.newState !== 'open') return;
  const opener = $(`[popovertarget="${popover.id}"]`);
  if (opener) place(popover, opener);
  if (popover.matches('[role=menu]')) $('[role^=menuitem]', popover)?.focus();
}, true);

on('keydown', '[role=menu]', (event, menu) => {
  const items = $$('[role^=menuitem]', menu);
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    items[to % items.length].focus();
  }
  if (event.key === 'Tab') menu.hidePopover();
});

// A greyed out item explains itself and does nothing else.
on('click', '.item[aria-disabled=true]', (event) => event.preventDefault());

// ---- sidebar: a narrow rail on wide screens, an overlay on the others
on('click', '[data-nav]', () => {
  const root = document.documentElement;
  if (innerWidth >= 1200) {
    const narrow = root.dataset.rail === '1' ? '' : '1';
    root.dataset.rail = narrow;
    remember('rail', narrow);
  } else if ('nav' in root.dataset) {
    delete root.dataset.nav;
  } else {
    root.dataset.nav = '';
    $('#side a')?.focus();
  }
});

on('keydown', '#side', (event) => {
  if (event.key === 'Escape') delete document.documentElement.dataset.nav;
});

on('input', '[data-find-nav]', (_event, field) => {
  const sought = field.value.trim().toLowerCase();
  for (const item of $$('#side nav li')) item.hidden = !item.textContent.toLowerCase().includes(sought);
  for (const heading of $$('#side .side-h')) heading.hidden = !$('li:not([hidden])', heading.nextElementSibling);
});

// With many models the current one may lie below the fold of the menu.
const current = $('#side [aria-current=page]');
if (current) $('#side nav').scrollTop = Math.max(0, current.offsetTop - innerHeight / 2);

on('click', '[data-theme-set]', (_event, button) => {
  document.documentElement.dataset.theme = button.dataset.themeSet;
  remember('theme', button.dataset.themeSet);
  for (const other of $$('[data-theme-set]')) other.setAttribute('aria-checked', other === button);
});

on('click', '[data-print]', () => print());
on('click', '[data-keys]', () => $('#keys').showModal());
on('click', 'dialog', (event, dialog) => {
  if (event.target === dialog) dialog.close();
});

// ---- a button with data-confirm asks first; without scripts it goes ahead, and the server decides
on('click', '[data-confirm]', async (event, button) => {
  if (button.dataset.agreed) {
    delete button.dataset.agreed;
    return;
  }
  event.preventDefault();
  const { confirm, confirmBody, ok } = button.dataset;
  if (!(await agreed(confirm, confirmBody, ok ?? button.textContent.trim()))) return;
  button.dataset.agreed = '1';
  button.click();
});

// ---- parts of a page that are swapped
document.addEventListener('htmx-before-swap', (event) => {
  const { ctx, tasks } = event.detail;
  const main = tasks.find((task) => task.type === 'main');
  // The session has ended, or the server answered with a page of another kind: show that page itself.
  if (ctx.select && !main?.fragment.childElementCount) {
    event.preventDefault();
    location.assign(ctx.response.raw.redirected ? location.href : ctx.request.action);
  }
});

document.addEventListener('htmx-error', () => {
  toast(t('The network is not available. Try again.'), 'red');
});

// ---- pages that stand alone
on('click', '[data-show-password]', (_event, button) => {
  const field = $(`#${button.dataset.showPassword}`);
  const shown = field.type === 'text';
  field.type = shown ? 'password' : 'text';
  button.setAttribute('aria-pressed', !shown);
});

on('keyup', 'input[type=password]', (event, field) => {
  const warning = $(`[data-caps="${field.id}"]`);
  if (warning && event.getModifierState) warning.hidden = !event.getModifierState('CapsLock');
});

const waiting = $('[data-wait]');
if (waiting) {
  const button = $('[data-wait-for]');
  let left = Number(waiting.dataset.wait);
  button.disabled = true;
  const clock = setInterval(() => {
    left -= 1;
    $('[data-seconds]', waiting).textContent = left;
    if (left > 0) return;
    clearInterval(clock);
    waiting.hidden = true;
    button.disabled = false;
  }, 1000);
}

// Chromium 114, Safari 17 and Firefox 125 were the first with popovers, which every menu here is.
const outdated = $('[data-outdated]');
if (outdated && !('popover' in HTMLElement.prototype)) outdated.hidden = false;

ready(() => $('[data-focus]')?.focus());
