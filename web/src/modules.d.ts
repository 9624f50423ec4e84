declare module "*.css" {
  const text: string;
  export default text;
}
declare module "worker-source" {
  const text: string;
  export default text;
}
