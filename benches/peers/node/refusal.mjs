/** Why a push is not recorded. Its message shows no value of the push. */
export class Refusal extends Error {
  constructor(statusCode, message) {
    super(message);
    this.statusCode = statusCode;
  }
}
