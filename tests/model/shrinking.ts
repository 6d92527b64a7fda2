/**
 * How a plan that fails is made smaller. A run takes long, so it is not tried in the order of fast-check, for
 * which runs are cheap, but in that of delta debugging: without halves, quarters … and single steps of it,
 * then with simpler steps. Each run that still fails is gone on from at the same place.
 */
import fc from "fast-check";
import type { Plan, Step } from "./steps.ts";

interface Place {
  phase: number;
  at: number;
}

/** The phases, one after another; the last but one is the first again, for single steps. */
const phases: ((plan: Plan, from: number) => Iterable<[Plan, number]>)[] = [
  ...[32, 16, 8, 4, 2, 1].map((size) => (plan: Plan, from: number) => withoutSteps(plan, size, from)),
  withoutLate,
  withoutParts,
  withZeros,
  (plan: Plan, from: number) => withoutSteps(plan, 1, from),
];

export class ShrinkingPlan extends fc.Arbitrary<Plan> {
  readonly #plans: fc.Arbitrary<Plan>;

  constructor(plans: fc.Arbitrary<Plan>) {
    super();
    this.#plans = plans;
  }

  generate(random: fc.Random, bias: number | undefined): fc.Value<Plan> {
    return new fc.Value(this.#plans.generate(random, bias).value, undefined);
  }

  canShrinkWithoutContext(_value: unknown): _value is Plan {
    return false;
  }

  shrink(plan: Plan, context: unknown): fc.Stream<fc.Value<Plan>> {
    const place = (context as Place | undefined) ?? { phase: 0, at: 0 };
    return fc.stream(smaller(plan, place)).map(([one, at]) => new fc.Value(one, at));
  }
}

function* smaller(plan: Plan, place: Place): IterableIterator<[Plan, Place]> {
  for (let phase = place.phase; phase < phases.length; phase++) {
    const from = phase === place.phase ? place.at : 0;
    for (const [one, at] of phases[phase]?.(plan, from) ?? []) yield [one, { phase, at }];
  }
}

/** `from` counts from the end, as what fails is mostly seen before that. */
function* withoutSteps(plan: Plan, size: number, from: number): Iterable<[Plan, number]> {
  const { steps } = plan;
  for (let kept = from; kept < steps.length; kept += size) {
    const end = steps.length - kept;
    const rest = [...steps.slice(0, Math.max(0, end - size)), ...steps.slice(end)];
    yield [{ ...plan, steps: rest }, kept];
  }
}

function* withoutLate(plan: Plan, from: number): Iterable<[Plan, number]> {
  for (let at = from; at < plan.late.length; at++) yield [{ ...plan, late: plan.late.toSpliced(at, 1) }, at];
}

/** Of what is done at once, one thing less. */
function* withoutParts(plan: Plan, from: number): Iterable<[Plan, number]> {
  for (let at = from; at < plan.steps.length; at++) {
    const step = plan.steps[at];
    if (step?.do !== "together" && step?.do !== "burst") continue;
    for (const index of step.acts.keys())
      yield [replace(plan, at, { ...step, acts: step.acts.toSpliced(index, 1) }), at];
    if (step.do === "burst") continue;
    if (step.returns.length > 0) yield [replace(plan, at, { ...step, returns: [] }), at];
    if (step.listens.length > 0) yield [replace(plan, at, { ...step, listens: [] }), at];
  }
}

/** With the first person, the first place, by the first way … */
function* withZeros(plan: Plan, from: number): Iterable<[Plan, number]> {
  for (let at = from; at < plan.steps.length; at++) {
    const step = plan.steps[at];
    if (step?.do === "act") {
      for (const act of zeros(step.act)) yield [replace(plan, at, { ...step, act }), at];
    } else if (step?.do === "together" || step?.do === "burst") {
      for (const [index, act] of step.acts.entries())
        for (const one of zeros(act))
          yield [replace(plan, at, { ...step, acts: step.acts.with(index, one) }), at];
    } else if (step?.do === "listen") {
      for (const one of zeros(step.listening)) yield [replace(plan, at, { ...step, listening: one }), at];
    }
  }
}

function* zeros<T extends object>(value: T): Iterable<T> {
  for (const [key, number] of Object.entries(value))
    if (typeof number === "number" && number > 0) yield { ...value, [key]: 0 };
}

function replace(plan: Plan, at: number, step: Step): Plan {
  return { ...plan, steps: plan.steps.with(at, step) };
}
