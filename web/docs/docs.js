// Shows /openapi.json with Swagger UI, which is there before modules run: its script is deferred.

window.SwaggerUIBundle({
  dom_id: "#docs",
  url: "/openapi.json",
  deepLinking: true,
  // The badge would ask a server elsewhere what it thinks of the document.
  validatorUrl: null,
});
