/** Who is in which room, before any database knows of it. */
export interface Population {
  people: number;
  /** Of each room, the indices of its members. */
  rooms: number[][];
}

export interface Person {
  id: string;
  /** What the system wants to see of a person; empty where it believes the id. */
  token: string;
}

/** A population as a system's database has it, in the same order. */
export interface Seeded {
  people: Person[];
  roomIds: string[];
}

/** Everybody in one room. */
export function oneRoom(people: number): Population {
  return { people, rooms: [range(people)] };
}

/** Each in one of many rooms of the same size. */
export function manyRooms(rooms: number, membersPerRoom: number): Population {
  return {
    people: rooms * membersPerRoom,
    rooms: range(rooms).map((room) => range(membersPerRoom).map((member) => room * membersPerRoom + member)),
  };
}

/** 0, 1, … n - 1 */
export function range(n: number): number[] {
  return Array.from({ length: n }, (_, index) => index);
}
