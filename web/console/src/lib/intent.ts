/** Tells that a person is about to press something: the pointer rests on it, or the keyboard has come to it. */

/** A pointer that is only passing by is gone sooner. */
const REST_MS = 50;

/** There is one pointer, and one focus. */
let timer: ReturnType<typeof setTimeout> | undefined;

export interface Intent {
  onPointerEnter: () => void;
  onPointerLeave: () => void;
  onFocus: () => void;
  onBlur: () => void;
}

/** Handlers for a control; `act` is what can be done ahead. It may be for nothing. */
export function intent(act: () => void): Intent {
  const stop = () => clearTimeout(timer);
  const start = () => {
    stop();
    timer = setTimeout(act, REST_MS);
  };
  return { onPointerEnter: start, onPointerLeave: stop, onFocus: start, onBlur: stop };
}
