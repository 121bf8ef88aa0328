// What values are, by their tag.

/**
 * "ArrayBuffer", "ImageData" ...: unlike instanceof it recognises values made in an iframe, an extension's world or a
 * test runner's, whose classes are other ones.
 * @param {unknown} value
 */
export const typeName = (value) => Object.prototype.toString.call(value).slice('[object '.length, -1);
