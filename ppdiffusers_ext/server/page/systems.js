// What GET /systems says, in the shape that the page uses.

/** {models, loras, modes: name -> {fields}} of a system, or null where there is none. */
export function systemOf(answer, name) {
  const found = answer[name];
  return found ? { loras: [], ...found } : null;
}

/** The mode of a system that takes the roles of a variant. */
export function modeOf(system, variant) {
  return system.modes.find((mode) => mode.name === variant.name) ?? system.modes[0];
}

/** The model that a draft names, or the one that the server takes where none is named. */
export function modelOf(system, name) {
  const called = (wanted) => system.models.find((model) => model.name === wanted);
  return called(name) ?? called(system.default) ?? system.models[0] ?? null;
}
