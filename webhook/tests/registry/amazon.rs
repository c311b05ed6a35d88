//! Amazon's registries.

use super::credentials::picky;
use super::*;

/// Not AWS: a mock that answers as its documentation says, and insists on what it says.
async fn mock_of_aws() -> Server {
    Server::start(ALLOWED, |seen| {
        if seen.body.contains("Action=AssumeRoleWithWebIdentity") {
            assert!(seen.body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpicket"), "{}", seen.body);
            assert!(seen.body.contains("WebIdentityToken=projected.token&") || seen.body.ends_with("WebIdentityToken=projected.token"));
            return Reply::ok(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                 <AccessKeyId>ASIAMOCK</AccessKeyId><SecretAccessKey>mock</SecretAccessKey>\
                 <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
                 </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            );
        }
        let signed = seen.authorization.clone().unwrap_or_default();
        let by_role = signed.starts_with("AWS4-HMAC-SHA256 Credential=ASIAMOCK/")
            && signed.contains("/eu-west-1/ecr/aws4_request")
            && signed.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
        if !by_role {
            return Reply { status: 400, ..Reply::ok(r#"{"__type": "IncompleteSignatureException"}"#) };
        }
        let token = STANDARD.encode("AWS:ecr-password");
        Reply::ok(json!({"authorizationData": [{"authorizationToken": token, "expiresAt": 4.0e9}]}).to_string())
    })
    .await
}

#[tokio::test]
async fn amazon_s_registries_by_web_identity() {
    let aws = mock_of_aws().await;
    let server = picky("AWS", "ecr-password").await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "projected.token\n").unwrap();
    let endpoint = format!("https://aws.test:{}", aws.port);
    let environment = AwsEnvironment::read(|name| match name {
        "AWS_ROLE_ARN" => Some("arn:aws:iam::123456789012:role/picket".into()),
        "AWS_WEB_IDENTITY_TOKEN_FILE" => Some(token.display().to_string()),
        "AWS_REGION" => Some("eu-west-1".into()),
        "AWS_ENDPOINT_URL_STS" | "AWS_ENDPOINT_URL_ECR" => Some(endpoint.clone()),
        _ => None,
    });
    assert!(environment.is_usable());
    let client = http(&[&aws, &server], all_names());
    let keychain = Keychain {
        ecr: Some(Arc::new(Ecr::new(Arc::clone(&client), environment.clone()))),
        ..Keychain::default()
    };
    let patience = Duration::from_secs(20);
    let resolver = Resolver::new(
        client,
        Options {
            keychain,
            patience,
            ..Options::default()
        },
    );
    let of_amazon = format!(
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:{}/web",
        server.port
    );
    for tag in ["1", "missing", "also-missing"] {
        let answer = ask(
            &resolver,
            &format!("{of_amazon}:{tag}"),
            &scope("shop", &[]),
        )
        .await;
        assert_eq!(answer.is_ok(), tag == "1", "{answer:?}");
    }
    assert_eq!(
        aws.seen().len(),
        2,
        "the password is kept: one call to STS, one to ECR"
    );
    let elsewhere = ask(&resolver, &image(&server), &scope("shop", &[]))
        .await
        .unwrap_err();
    assert!(
        !elsewhere.detail.contains("ECR"),
        "only Amazon's registries: {elsewhere}"
    );

    std::fs::remove_file(&token).unwrap();
    let lost = Ecr::new(http(&[&aws, &server], all_names()), environment);
    let failure = lost
        .credential("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
        .await
        .unwrap();
    assert!(
        failure
            .unwrap_err()
            .to_string()
            .starts_with("the web identity token cannot be read")
    );
}
