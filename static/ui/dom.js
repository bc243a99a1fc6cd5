// The few words every other module speaks: find, listen, translate, ask the server, tell the person.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

const strings = JSON.parse($('#i18n')?.textContent || '{}');
const sprite = new URL('../vendor/icons.svg', import.meta.url).pathname;

// The text in the reader's language; %(name)s stands for a value, as in the catalogues.
export function t(text, values = {}) {
  return (strings[text] ?? text).replace(/%\((\w+)\)s/g, (_, name) => values[name] ?? '');
}

// One listener on the document serves elements that are swapped in later, too.
export function on(type, selector, handle, options) {
  document.addEventListener(type, (event) => {
    const element = event.target.closest?.(selector);
    if (element) handle(event, element);
  }, options);
}

// What must be done to a page once it is there, and again after a part of it was swapped.
export function ready(prepare) {
  prepare();
  document.addEventListener('htmx-after-swap', prepare);
}

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function icon(name) {
  const box = make('template');
  box.innerHTML = `<svg class="i i-s" aria-hidden="true"><use href="${sprite}#${name}"></use></svg>`;
  return box.content.firstChild;
}

export function remember(name, value) {
  document.cookie = `${name}=${value};path=/;max-age=31536000;samesite=lax`;
}

// The server said no: `message` is its sentence, `status` and `answer` are for whoever can do more about it.
export class Refusal extends Error {
  constructor(message, status, answer) {
    super(message);
    this.status = status;
    this.answer = answer;
  }
}

export async function post(url, values) {
  const headers = { 'X-CSRFToken': $('meta[name=csrf]')?.content ?? '', 'X-Requested-With': 'fetch' };
  let response;
  try {
    response = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(values) });
  } catch {
    throw new Refusal(t('The network is not available. Nothing was saved: try again.'), 0, {});
  }
  // A redirect means that the session has ended: the sign-in page leads back here.
  if (response.redirected) location.reload();
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Refusal(answer.error || t('The server did not accept this. Nothing was saved.'), response.status, answer);
  }
  return answer;
}

// A message in the corner. Refusals stay until they are closed; `again` is [label, what pressing it does].
export function toast(text, tone = 'green', again) {
  const box = make('div', { className: `toast t-${tone}` }, icon(tone === 'green' ? 'circle-check' : 'info-circle'));
  box.append(make('p', { textContent: text }));
  if (again) {
    const button = make('button', { type: 'button', className: 'btn small', textContent: again[0] });
    button.addEventListener('click', () => {
      box.remove();
      again[1]();
    });
    box.append(button);
  }
  const close = make('button', { type: 'button', className: 'ibtn' }, icon('x'));
  close.dataset.close = '';
  close.setAttribute('aria-label', t('Close'));
  box.append(close);
  $('#toasts').append(box);
  if (tone !== 'red') setTimeout(() => box.remove(), again ? 8000 : 5000);
}

// Ask before something that matters; true when the person agrees.
export function agreed(title, body, ok) {
  const dialog = $('#confirm');
  $('h2', dialog).textContent = title;
  $('[data-body]', dialog).textContent = body || '';
  $('[data-ok]', dialog).textContent = ok || t('OK');
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener('close', () => answer(dialog.returnValue === 'yes'), { once: true });
  });
}

// Put a popover beside what opened it: under it where there is room, else above, always inside the window.
export function place(popover, anchor) {
  const from = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popover;
  const edge = 8;
  const left = popover.dataset.place === 'end' ? from.right - width : from.left;
  const below = from.bottom + 6;
  const above = popover.dataset.place === 'top' || below + height > innerHeight - edge;
  popover.style.left = `${Math.max(edge, Math.min(left, innerWidth - width - edge))}px`;
  popover.style.top = `${above ? Math.max(edge, from.top - height - 6) : below}px`;
}
