// The 21 landmarks of a hand, as MediaPipe's networks give them.

/** Side of the square input of the hand landmark networks, in pixels. */
export const INPUT_SIZE = 224;

export const LANDMARKS = 21;

/** Names of the networks' outputs, the same in all of them. */
export const OUTPUT = { landmarks: 'Identity', presence: 'Identity_1', handedness: 'Identity_2', world: 'Identity_3' };

/**
 * Pairs of landmarks joined by a bone: wrist 0, thumb 1-4, then four of each finger from index to little.
 * @type {readonly (readonly [from: number, to: number])[]}
 */
export const HAND_CONNECTIONS = Object.freeze(/** @type {[number, number][]} */ ([
  [0, 1], [1, 2], [2, 3], [3, 4],
  [0, 5], [5, 6], [6, 7], [7, 8],
  [9, 10], [10, 11], [11, 12],
  [13, 14], [14, 15], [15, 16],
  [0, 17], [17, 18], [18, 19], [19, 20],
  [5, 9], [9, 13], [13, 17],
]));
